"""Public data sets: names, classes, and the folder layouts in use."""

import json

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from mobileinst_core.errors import UserError
from mobileinst_core.ytvis.classes import COCO_ID_MAPS, THING_CLASSES
from mobileinst_d2.data.datasets import builtin

# Names of the splits: ours, in official file names, and in those of VNext.
SPLITS = (("train", "train", "train"), ("val", "valid", "val"), ("test", "test", "test"))
YTVIS = ("ytvis_2019", "ytvis_2021", "ytvis_2022")

# One row per layout in use: data sets, annotation file, folder of images.
LAYOUTS = {
    "Mask2Former": (YTVIS, "{name}/{long}.json", "{name}/{long}/JPEGImages"),
    "as downloaded": (YTVIS, "{name}/{long}/instances.json", "{name}/{long}/JPEGImages"),
    "VNext": (YTVIS, "{name}/annotations/instances_{short}_sub.json", "{name}/{short}/JPEGImages"),
    "VNext without sub": (
        YTVIS,
        "{name}/annotations/instances_{short}.json",
        "{name}/{short}/JPEGImages",
    ),
    "short names": (YTVIS, "{name}/{short}/instances.json", "{name}/{short}/JPEGImages"),
    "CrossVIS": (("ytvis_2019",), "youtubevis/annotations/{long}.json", "youtubevis/{long}"),
    "MMTracking": (
        YTVIS[:2],
        "youtube_vis_{year}/{long}.json",
        "youtube_vis_{year}/{long}/JPEGImages",
    ),
    "OVIS, MinVIS": (("ovis",), "ovis/annotations/annotations_{long}.json", "ovis/{long}"),
    "OVIS, VITA": (("ovis",), "ovis/annotations/{long}.json", "ovis/{long}"),
    "OVIS, VNext": (("ovis",), "ovis/annotations_{long}.json", "ovis/{long}"),
}


@pytest.fixture(autouse=True)
def registered(clean_catalogs):
    builtin.register_builtin_datasets()


def placements(row):
    """Registered name, annotation file and image folder of every data set and split of a row."""
    datasets, json_file, image_root = LAYOUTS[row]
    for dataset in datasets:
        for split, long, short in SPLITS:
            fields = {"name": dataset, "long": long, "short": short, "year": dataset[-4:]}
            file, images = json_file.format(**fields), image_root.format(**fields)
            yield f"{dataset}_{split}", file, images
            # Parts of the training set lie beside its file.
            for part in ("train_sub", "val_sub") if split == "train" else ():
                yield f"{dataset}_{part}", f"{file.rpartition('/')[0]}/{part}.json", images


def place(root, json_file, image_root, classes):
    (root / image_root).mkdir(parents=True)
    content = {
        "videos": [{"id": 1, "height": 4, "width": 4, "file_names": ["v/0.jpg"]}],
        "categories": [{"id": i, "name": name} for i, name in enumerate(classes, 1)],
    }
    path = root / json_file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def classes_of(name):
    return next(c for dataset, c in THING_CLASSES.items() if name.startswith(dataset))


def check_paths(name, json_file, image_root):
    (record,) = DatasetCatalog.get(name)
    assert record["file_names"] == [str(image_root / "v/0.jpg")]
    assert record["tracks"] is None
    metadata = MetadataCatalog.get(name)
    assert metadata.json_file == str(json_file)
    assert metadata.image_root == str(image_root)


@pytest.mark.parametrize("row", LAYOUTS)
def test_layouts(tmp_path, monkeypatch, row):
    for name, json_file, image_root in placements(row):
        root = tmp_path / name
        monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
        place(root, json_file, image_root, classes_of(name))
        check_paths(name, root / json_file, root / image_root)


def test_the_training_set_of_2022_is_that_of_2021(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    json_file, image_root = "ytvis_2021/train/instances.json", "ytvis_2021/train/JPEGImages"
    place(tmp_path, json_file, image_root, classes_of("ytvis_2022"))
    check_paths("ytvis_2022_train", tmp_path / json_file, tmp_path / image_root)
    with pytest.raises(FileNotFoundError):
        DatasetCatalog.get("ytvis_2022_val")


def test_the_converted_file_of_mmtracking_is_recognised(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    path = tmp_path / "youtube_vis_2019/annotations/youtube_vis_2019_train.json"
    path.parent.mkdir(parents=True)
    (tmp_path / "youtube_vis_2019/train/JPEGImages").mkdir(parents=True)
    image = {"id": 1, "file_name": "v/0.jpg", "video_id": 1, "frame_id": 0}
    path.write_text(json.dumps({"videos": [{"id": 1}], "images": [image], "categories": []}))
    with pytest.raises(UserError, match=r"youtube_vis_2019_train\.json: .*CocoVID.*original"):
        DatasetCatalog.get("ytvis_2019_train")


def test_an_incomplete_layout_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    (tmp_path / "ytvis_2019").mkdir()
    (tmp_path / "ytvis_2019/train.json").write_text("{}")
    place(tmp_path, "youtubevis/annotations/train.json", "youtubevis/train", ["x"])
    json_file, _ = builtin.find_builtin_paths("ytvis_2019_train")
    assert json_file == str(tmp_path / "youtubevis/annotations/train.json")


def test_failure_lists_every_path(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    (tmp_path / "ytvis_2021/valid/JPEGImages").mkdir(parents=True)
    with pytest.raises(FileNotFoundError) as caught:
        DatasetCatalog.get("ytvis_2021_val")
    message = str(caught.value)
    for path in ("ytvis_2021/valid.json", "ytvis_2021/valid/instances.json"):
        assert f"{tmp_path / path} (missing)" in message
    assert f"{tmp_path / 'ytvis_2021/valid/JPEGImages'} (found)" in message
    assert "DETECTRON2_DATASETS" in message


def test_classes_known_without_files():
    for dataset, number in (("ytvis_2019", 40), ("ytvis_2021", 40), ("ovis", 25)):
        for split in ("train", "val", "test"):
            metadata = MetadataCatalog.get(f"{dataset}_{split}")
            assert metadata.evaluator_type == "ytvis"
            assert len(set(metadata.thing_classes)) == number
            assert metadata.thing_dataset_id_to_contiguous_id[number] == number - 1


def test_class_lists_differ_as_published():
    lists = THING_CLASSES
    old, new = lists["ytvis_2019"], lists["ytvis_2021"]
    assert len(old) == len(new) == 40
    # Eagle and owl became bird, ape became monkey, sedan car; hand went.
    gone, came = {"eagle", "owl", "ape", "hand", "sedan"}, {"bird", "car"}
    assert set(new) == (set(old) - gone) | came | {"flying_disc", "squirrel", "whale"}
    assert new == sorted(new)
    assert lists["ytvis_2022"] == new
    assert [old[i] for i in (0, 9, 39)] == ["person", "monkey", "tennis_racket"]


@pytest.mark.parametrize(
    ("file", "last", "message"),
    [("val_sub", [], "has 24 categories, expected 25"), ("train", ["Vehicle"], "'Vehical'")],
)
def test_a_file_with_other_classes_is_refused(tmp_path, monkeypatch, file, last, message):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    classes = [*THING_CLASSES["ovis"][:-1], *last]
    place(tmp_path, f"ovis/annotations/{file}.json", "ovis/train", classes)
    with pytest.raises(UserError, match=rf"{file}\.json.*{message}"):
        DatasetCatalog.get(f"ovis_{file}")


@pytest.mark.parametrize(
    ("dataset", "pairs", "targets"),
    [("ytvis_2019", 21, 19), ("ytvis_2021", 23, 21), ("ytvis_2022", 23, 21), ("ovis", 17, 15)],
)
def test_coco_maps_join_the_same_things(dataset, pairs, targets):
    """Names agree except for the known approximations and other words for the same thing."""
    coco = MetadataCatalog.get("coco_2017_val")
    from_id = {v: k for k, v in coco.thing_dataset_id_to_contiguous_id.items()}
    names = {from_id[i]: name for i, name in enumerate(coco.thing_classes)}
    id_map, classes = COCO_ID_MAPS[dataset], THING_CLASSES[dataset]
    assert (len(id_map), len(set(id_map.values()))) == (pairs, targets)
    words = {
        "bicycle": {"motorbike"},
        "motorcycle": {"motorbike"},
        "car": {"sedan", "vehical"},
        "bus": {"vehical"},
        "truck": {"vehical"},
        "skis": {"snowboard"},
        "frisbee": {"flying_disc"},
    }
    for coco_id, other_id in id_map.items():
        name, other = names[coco_id], classes[other_id - 1].lower()
        assert other == name.replace(" ", "_") or other in words[name]
