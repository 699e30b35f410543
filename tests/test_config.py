"""The config: its defaults and every shipped file build, and mistakes are named."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from tiny_models import build_tiny_model

from mobileinst_d2 import add_mobileinst_config
from mobileinst_d2.engine.optimizer import build_optimizer
from mobileinst_d2.tracking import StreamingPredictor, VideoPredictor

REPOSITORY = Path(__file__).resolve().parents[1]
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


def test_detectron2s_own_defaults_stay_as_they_are():
    detectron2, ours = dict(leaves(get_cfg())), dict(leaves(full_config()))
    assert {key: ours[key] for key in detectron2} == detectron2


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


def test_output_folders_are_not_shared():
    folders = [
        yaml.safe_load((REPOSITORY / file).read_text(encoding="utf-8"))["OUTPUT_DIR"]
        for file in CONFIG_FILES
        if not file.name.startswith("base")
    ]
    assert len(set(folders)) == len(folders) > 5


@pytest.mark.parametrize(
    "key",
    [
        "MODEL.MOBILEINST.MASK_DECODER.NUM_MASK_CONV",
        "TEST.TRACKING.CLIP_LENGTH",
        "MODEL.TOPFORMERS",
    ],
)
def test_a_mistyped_key_is_rejected(key):
    with pytest.raises((KeyError, AssertionError), match=key.split(".")[-1]):
        full_config().merge_from_list([key, 3])


MODEL = "MODEL__MOBILEINST__"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"MODEL__BACKBONE__NORM": "nonsense"}, "norm is 'nonsense', .*'FrozenBN'"),
        ({"MODEL__TOPFORMER__VARIANT": "huge"}, "variant is 'huge', .*'tiny'"),
        ({f"{MODEL}BACKBONE_FEATURES": ["x3", "x9"]}, r"features \['x9'\] are needed.*'x3'"),
        ({f"{MODEL}NORM": "LN"}, "norm is 'LN', .*'GN'"),
        ({f"{MODEL}MASK_DECODER__NAME": "nonsense"}, r"MASK_DECODER\.NAME .*FPNPPMMaskDecoder"),
        ({f"{MODEL}MASK_DECODER__PYRAMID_NORM": "LN"}, "pyramid_norm is 'LN', .*'GN'"),
        ({f"{MODEL}MASK_DECODER__ENHANCERS": ["all"]}, "enhancers is 'all', .*'input'"),
        ({f"{MODEL}MASK_DECODER__DOWNSAMPLE": "avg"}, "downsample is 'avg', .*'nearest'"),
        ({f"{MODEL}INSTANCE_DECODER__NAME": "nonsense"}, r"INSTANCE_DECODER\.NAME .*Dual"),
        ({f"{MODEL}INSTANCE_DECODER__LAYERS": ["all"]}, "layers is 'all', .*'global'"),
        ({f"{MODEL}INSTANCE_DECODER__LOCAL_POOL": "sum"}, "local_pool is 'sum', .*'max'"),
        ({f"{MODEL}QUERY_PASSING__MATCH": "best"}, "passing_match is 'best', .*'identity'"),
    ],
    ids=str,
)
def test_unknown_options_are_named_with_the_known_ones(overrides, message):
    with pytest.raises(ValueError, match=message):
        build_tiny_model(**overrides)
