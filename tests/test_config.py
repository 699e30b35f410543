"""The config: every key is read, explained, checked; every default and every file builds."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_backbone, build_model
from source_tree import REPOSITORY, config_reads, package_modules
from tiny_models import build_tiny_model, tiny_config

from mobileinst_d2 import add_mobileinst_config
from mobileinst_d2.data.build import ClipDataset
from mobileinst_d2.engine.optimizer import build_optimizer
from mobileinst_d2.tracking import StreamingPredictor, VideoPredictor

CONFIG_FILES = sorted(p.relative_to(REPOSITORY) for p in REPOSITORY.glob("configs/**/*.yaml"))


def leaves(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def full_config() -> CfgNode:
    cfg = get_cfg()
    add_mobileinst_config(cfg)
    return cfg


DETECTRON2_KEYS = dict(leaves(get_cfg()))
KEYS = {k: v for k, v in leaves(full_config()) if k not in DETECTRON2_KEYS}
READS = [read for module in package_modules() for read in config_reads(module)]
# Detectron2's own loader reads it too and does not define it; who wants that sampler adds it.
UNDEFINED = {"DATALOADER.RANDOM_SUBSET_RATIO"}


@cache
def comments() -> dict[str, str]:
    """The comment above each key in config.py, or above the lines that the key closes."""
    found, comment, fresh = {}, [], False
    source = (REPOSITORY / "mobileinst_d2" / "config.py").read_text(encoding="utf-8")
    for line in source.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            comment = [*comment, stripped[1:].strip()] if fresh else [stripped[1:].strip()]
            fresh = True
            continue
        if match := re.match(r"cfg\.([\w.]+) = ", stripped):
            text, key = " ".join(comment), match[1]
            # A comment on several keys names those that are not right below it.
            found[key] = text if fresh or key.rpartition(".")[2] in text else ""
        else:
            comment = []
        fresh = False
    return found


def test_detectron2s_own_defaults_stay_as_they_are():
    ours = dict(leaves(full_config()))
    assert {key: ours[key] for key in DETECTRON2_KEYS} == DETECTRON2_KEYS


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_read(key):
    # Of this project's keys no section is handed on as a whole, so full names must appear.
    assert key in {read.key for read in READS}


@pytest.mark.parametrize("key", sorted({read.key for read in READS} - UNDEFINED))
def test_every_key_that_is_read_exists(key):
    node = full_config()
    for part in key.split("."):
        assert part in node, [read for read in READS if read.key == key]
        node = node[part]


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_explained(key):
    assert len(comments()[key]) > 5, f"{key} has no comment above it"


def test_the_defaults_build():
    cfg = full_config()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "MobileInst"
    cfg.MODEL.BACKBONE.NAME = "TopFormer"
    model = build_model(cfg)
    VideoPredictor(cfg, model)
    StreamingPredictor(cfg, model)
    build_optimizer(cfg, model)


@pytest.mark.parametrize("file", CONFIG_FILES, ids=str)
def test_every_config_file_builds(file):
    cfg = full_config()
    cfg.merge_from_file(str(REPOSITORY / file))
    cfg.MODEL.DEVICE = "cpu"
    model = build_model(cfg)
    if cfg.MODEL.META_ARCHITECTURE == "MobileInst":
        assert model.instance_decoder.class_head.out_features == cfg.MODEL.NUM_CLASSES
    build_optimizer(cfg, model)


def base_of(file: Path) -> Path | None:
    """The file that a config is based on."""
    base = yaml.safe_load((REPOSITORY / file).read_text(encoding="utf-8")).get("_BASE_")
    return None if base is None else (REPOSITORY / file.parent / base).resolve()


def leaf_files() -> list[Path]:
    """Configs that people train or evaluate with: all but the bases."""
    return [file for file in CONFIG_FILES if not file.name.startswith("base")]


@pytest.mark.parametrize("file", leaf_files(), ids=str)
def test_leaf_files_are_small_and_have_a_folder_for_their_output(file):
    lines = (REPOSITORY / file).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 15
    assert base_of(file) is not None
    own = yaml.safe_load("\n".join(lines))
    assert "OUTPUT_DIR" in own


def test_output_folders_are_not_shared():
    folders = [
        yaml.safe_load((REPOSITORY / file).read_text(encoding="utf-8"))["OUTPUT_DIR"]
        for file in leaf_files()
    ]
    assert len(set(folders)) == len(folders) > 5


@pytest.mark.parametrize(
    "key", ["MODEL.MASK_DECODER.NUM_MASK_CONV", "TEST.TRACKING.CLIP_LENGTH", "MODEL.TOPFORMERS"]
)
def test_a_mistyped_key_is_rejected(key):
    with pytest.raises((KeyError, AssertionError), match=key.split(".")[-1]):
        full_config().merge_from_list([key, 3])


def named_options() -> dict[str, list[str]]:
    """Keys whose comment lists their values in quotes, the default among them."""
    options = {}
    for key, default in KEYS.items():
        comment = comments()[key]
        values = re.findall(r'"([^"]*)"', comment)
        first = default[0] if isinstance(default, (list, tuple)) and default else default
        if len(values) > 1 and first in values and "..." not in comment:
            options[key] = list(dict.fromkeys(values))
    return options


OPTIONS = named_options()


def use(key: str, value: object) -> None:
    """Build what reads the key."""
    overrides = {key.replace(".", "__"): value}
    for name, section in (("SeaFormer", "SEAFORMER"), ("TimmBackbone", "TIMM")):
        if key.startswith(f"MODEL.{section}."):
            overrides["MODEL__BACKBONE__NAME"] = name
    if key == "DATALOADER.VIS_SAMPLE_UNIT":
        track = {"iscrowd": 0, "segmentations": [{"size": [4, 4], "counts": [0, 16]}]}
        ClipDataset([{"height": 4, "width": 4, "length": 1, "tracks": [track]}], value)
    elif key.startswith("MODEL.MOBILE_FPN."):
        overrides["MODEL__BACKBONE__NAME"] = "build_mobile_fpn_backbone"
        overrides["MODEL__FPN__IN_FEATURES"] = ["x3"]
        build_backbone(tiny_config(**overrides))
    elif key.startswith("SOLVER."):
        build_optimizer(tiny_config(**overrides), build_tiny_model())
    elif key.startswith("TEST."):
        VideoPredictor(tiny_config(**overrides), build_tiny_model().eval())
    else:
        build_tiny_model(**overrides)


def test_the_options_are_found():
    assert OPTIONS["MODEL.TOPFORMER.VARIANT"] == ["tiny", "small", "base"]
    assert set(OPTIONS["MODEL.MASK_DECODER.LAYOUT"]) == {"two_rounds", "zigzag"}
    assert len(OPTIONS) >= 15


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in OPTIONS.items() for v in vs])
def test_every_option_of_a_comment_is_accepted(key, value):
    use(key, [value] if isinstance(KEYS[key], list) else value)


# Texts of the user's own.
FREE_TEXTS = {"MODEL.BACKBONE.WEIGHTS", "MODEL.TIMM.NAME", "MODEL.WARM_START_CLASSES"}
TEXTS = [k for k, v in KEYS.items() if isinstance(v[0] if isinstance(v, list) and v else v, str)]


@pytest.mark.parametrize("key", sorted({*TEXTS, *OPTIONS} - FREE_TEXTS))
def test_an_unknown_option_is_rejected_by_the_name_of_its_key(key):
    several = isinstance(KEYS[key], list)
    # Constructors call it by their argument.
    names = rf"({re.escape(key)}|{key.rpartition('.')[2].lower()})"
    with pytest.raises(ValueError, match=rf"{names}.*nonsense") as caught:
        use(key, ["nonsense"] if several else "nonsense")
    for known in OPTIONS.get(key, KEYS[key] if several else [KEYS[key]]):
        assert known in str(caught.value)


@pytest.mark.parametrize(
    ("key", "others"),
    [
        ("MODEL.MASK_DECODER.ENHANCER_GATE", {"MODEL.MASK_DECODER.ENHANCERS": []}),
        (
            "MODEL.MOBILEINST.QUERY_PASSING.MATCH",
            {"MODEL.MOBILEINST.QUERY_PASSING.ENABLED": False},
        ),
    ],
)
def test_an_unknown_option_is_rejected_even_where_it_has_no_effect(key, others):
    overrides = {name.replace(".", "__"): value for name, value in others.items()}
    with pytest.raises(ValueError, match=rf"{re.escape(key)}.*nonsense"):
        build_tiny_model(**overrides, **{key.replace(".", "__"): "nonsense"})
