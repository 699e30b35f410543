"""Data sets that are given in the config alone."""

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from mobileinst_core.errors import UserError
from mobileinst_d2.data import build_test_loader, build_train_loader, register_custom_datasets


def entry(root, name="shapes", kind="ytvis", **changes):
    file = {"ytvis": "instances.json", "coco": "coco.json"}.get(kind, "instances.json")
    values = {
        "NAME": name,
        "FORMAT": kind,
        "JSON": str(root / file),
        "IMAGE_ROOT": str(root / "JPEGImages"),
    }
    return {**values, **changes}


@pytest.mark.parametrize("kind", ["ytvis", "coco"])
def test_training_and_testing_need_the_config_only(cfg, moving_shapes, kind):
    cfg.DATASETS.CUSTOM = [
        entry(moving_shapes / "train", "shapes_train", kind),
        entry(moving_shapes / "val", "shapes_val", kind),
    ]
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("shapes_train",), ("shapes_val",)
    register_custom_datasets(cfg)
    register_custom_datasets(cfg)
    batch = next(iter(build_train_loader(cfg)))
    assert len(batch) == 2
    (sample,) = next(iter(build_test_loader(cfg, "shapes_val")))
    assert len(sample["image"]) == (8 if kind == "ytvis" else 3)
    assert MetadataCatalog.get("shapes_val").evaluator_type == kind
    assert len(MetadataCatalog.get("shapes_train").thing_classes) == 4


def test_entries_come_from_the_command_line_and_from_yaml(cfg, moving_shapes, tmp_path):
    values = entry(moving_shapes / "train", "from_opts")
    cfg.merge_from_list(["DATASETS.CUSTOM", str([values])])
    register_custom_datasets(cfg)
    values["NAME"] = "from_yaml"
    (tmp_path / "c.yaml").write_text(f"DATASETS:\n  CUSTOM: [{values}]\n")
    cfg.merge_from_file(str(tmp_path / "c.yaml"))
    register_custom_datasets(cfg)
    for name in ("from_opts", "from_yaml"):
        assert len(DatasetCatalog.get(name)) == 6


def test_paths_are_expanded(cfg, moving_shapes, monkeypatch):
    monkeypatch.setenv("MY_SHAPES", str(moving_shapes))
    values = entry(moving_shapes / "train", JSON="$MY_SHAPES/train/instances.json")
    cfg.DATASETS.CUSTOM = [values]
    register_custom_datasets(cfg)
    assert len(DatasetCatalog.get("shapes")) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"IMAGES": "x"}, "unknown IMAGES"),
        ({"FORMAT": "voc"}, r"FORMAT must be 'coco' or 'ytvis', got 'voc'"),
        ({"NAME": ""}, "NAME must be a non-empty text"),
        ({"JSON": 3}, "JSON must be a non-empty text, got 3"),
    ],
)
def test_wrong_values_are_named(cfg, moving_shapes, changes, message):
    cfg.DATASETS.CUSTOM = [entry(moving_shapes / "train"), entry(moving_shapes, "b", **changes)]
    with pytest.raises(ValueError, match=rf"DATASETS\.CUSTOM\[1\].*{message}"):
        register_custom_datasets(cfg)


def test_missing_keys_are_named(cfg):
    cfg.DATASETS.CUSTOM = [{"NAME": "x", "FORMAT": "coco"}]
    with pytest.raises(ValueError, match="missing JSON, IMAGE_ROOT"):
        register_custom_datasets(cfg)
    cfg.DATASETS.CUSTOM = ["x.json"]
    with pytest.raises(ValueError, match=r"must be a mapping.*x\.json"):
        register_custom_datasets(cfg)


@pytest.mark.parametrize("kind", ["ytvis", "coco"])
@pytest.mark.parametrize("key", ["JSON", "IMAGE_ROOT"])
def test_a_name_with_other_paths_is_refused(cfg, moving_shapes, kind, key):
    cfg.DATASETS.CUSTOM = [
        entry(moving_shapes / "train", "twice", kind),
        entry(moving_shapes / "train", "twice", kind, **{key: "/elsewhere"}),
    ]
    with pytest.raises(ValueError, match=r"'twice' is already registered.*/elsewhere"):
        register_custom_datasets(cfg)


def test_a_builtin_name_is_refused(cfg, moving_shapes):
    cfg.DATASETS.CUSTOM = [entry(moving_shapes / "train", "coco_2017_train", "coco")]
    with pytest.raises(ValueError, match="'coco_2017_train' is already registered"):
        register_custom_datasets(cfg)
    cfg.DATASETS.CUSTOM = [entry(moving_shapes / "train", "ytvis_2019_train")]
    with pytest.raises(ValueError, match="'ytvis_2019_train' is already registered"):
        register_custom_datasets(cfg)


@pytest.mark.parametrize("kind", ["ytvis", "coco"])
def test_missing_files_matter_only_when_used(cfg, tmp_path, kind):
    cfg.DATASETS.CUSTOM = [entry(tmp_path / "nowhere", "absent", kind)]
    register_custom_datasets(cfg)
    with pytest.raises((FileNotFoundError, UserError), match="nowhere"):
        DatasetCatalog.get("absent")


def test_a_coco_file_declared_as_videos_is_explained(cfg, moving_shapes):
    wrong = entry(moving_shapes / "train", JSON=str(moving_shapes / "train" / "coco.json"))
    cfg.DATASETS.CUSTOM = [wrong]
    register_custom_datasets(cfg)
    with pytest.raises(UserError, match=r"coco\.json.*COCO"):
        DatasetCatalog.get("shapes")
