"""COCO files as data sets: what Detectron2's own loader gives, and clear words where it fails."""

import json

import pytest
from annotation_files import SQUARE, change
from detectron2.data import MetadataCatalog
from detectron2.data.datasets import coco as detectron2_coco
from detectron2.data.datasets import register_coco_instances

from mobileinst_core.errors import UserError
from mobileinst_d2.data import build_test_loader, build_train_loader
from mobileinst_d2.data.datasets import load_coco_json, load_images, register_coco_json
from mobileinst_d2.data.datasets.classes import dataset_class_names


def as_detectron2_reads(json_file, image_root):
    """Without the areas, which Detectron2 leaves out."""
    records = detectron2_coco.load_coco_json(str(json_file), str(image_root), "read_by_detectron2")
    return json.loads(json.dumps(records, default=lambda code: code.decode()))


def without_areas(records):
    plain = json.loads(json.dumps(records))
    for record in plain:
        for annotation in record["annotations"]:
            del annotation["area"]
    return plain


def test_records_are_those_of_detectron2(moving_shapes):
    paths = moving_shapes / "train" / "coco.json", moving_shapes / "train" / "JPEGImages"
    assert without_areas(load_coco_json(*paths)) == as_detectron2_reads(*paths)


@pytest.fixture
def write_damaged(moving_shapes, write_json):
    """Write the training file with one value changed; gives its path and the image folder."""

    def write(path, value):
        content = json.loads((moving_shapes / "train" / "coco.json").read_text())
        change(content, path, value)
        return str(write_json(content)), str(moving_shapes / "train" / "JPEGImages")

    return write


@pytest.mark.parametrize("register", [register_coco_json, register_coco_instances])
def test_registered_by_anyone_a_file_is_checked(write_damaged, register, cfg):
    paths = write_damaged("annotations.3.segmentation", SQUARE)
    register("damaged", *(() if register is register_coco_json else ({},)), *paths)
    message = r"instances\.json: annotation 4 .*put it into another"
    cfg.DATASETS.TRAIN = ("damaged",)
    for use in (
        lambda: load_images("damaged"),
        lambda: dataset_class_names("damaged"),
        lambda: build_train_loader(cfg),
        lambda: build_test_loader(cfg, "damaged"),
    ):
        with pytest.raises(UserError, match=message):
            use()


def test_missing_values_do_not_end_training(write_damaged, cfg):
    register_coco_json("mended", *write_damaged("annotations.0.bbox", KeyError))
    cfg.DATASETS.TRAIN = ("mended",)
    (sample, _) = next(iter(build_train_loader(cfg)))
    assert len(sample["instances"]) > 0


@pytest.mark.parametrize("name", ["coco_2017_val", "mine"])
def test_missing_files_are_named(name, tmp_path):
    if name == "mine":
        register_coco_json(name, tmp_path / "nowhere.json", tmp_path)
    path = MetadataCatalog.get(name).json_file
    with pytest.raises(UserError, match=rf"'{name}' does not exist: {path}\. ") as error:
        load_images(name)
    assert ("DETECTRON2_DATASETS" in str(error.value)) == (name != "mine")


def test_nothing_to_learn_from_is_an_error(write_damaged, cfg):
    register_coco_json("blind", *write_damaged("annotations", []))
    cfg.DATASETS.TRAIN = ("blind",)
    with pytest.raises(UserError, match="No image of blind has a usable annotation"):
        build_train_loader(cfg)
    assert len(build_test_loader(cfg, "blind")) > 0


def test_other_classes_than_known_are_explained(write_damaged):
    paths = write_damaged("categories.0.name", "blob")
    register_coco_json("mine", *paths)
    MetadataCatalog.get("mine").set(thing_classes=["disc", "square", "triangle", "star"])
    with pytest.raises(UserError, match="position 0 the file has 'blob'"):
        load_images("mine")


def test_records_of_real_data_are_those_of_detectron2(shared_data):
    root = shared_data("coco_mini")
    paths = root / "annotations" / "instances_train2017.json", root / "train2017"
    records = load_coco_json(*paths, "mine")
    assert without_areas(records) == as_detectron2_reads(*paths)
    for key in ("thing_classes", "thing_dataset_id_to_contiguous_id"):
        expected = MetadataCatalog.get("read_by_detectron2").get(key)
        assert MetadataCatalog.get("mine").get(key) == expected
