"""Images as clips by name, beside videos, in given shares."""

import itertools
import logging

import pytest
from annotation_files import custom_dataset
from detectron2.data import DatasetCatalog, MetadataCatalog

from mobileinst_d2.data import build_train_loader, check_num_classes, register_custom_datasets
from mobileinst_d2.data.datasets.pseudo_clips import is_pseudo_clips, register_pseudo_clips


@pytest.fixture
def cfg(cfg, moving_shapes):
    """The same shapes as images and as videos."""
    cfg.DATASETS.CUSTOM = [
        custom_dataset(moving_shapes / "train", name, kind)
        for name, kind in (("videos", "ytvis"), ("images", "coco"))
    ]
    register_custom_datasets(cfg)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("videos", "images_as_videos"), ()
    cfg.MODEL.META_ARCHITECTURE = "MobileInst"
    return cfg


@pytest.fixture
def public_coco(write_json, tmp_path):
    """Registers a COCO file of the 80 classes with three images, of a car, a cup and nothing."""
    from detectron2.data.datasets import register_coco_instances
    from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES

    square = {"bbox": [2, 2, 18, 18], "area": 324}
    square["segmentation"] = [[2, 2, 20, 2, 20, 20, 2, 20]]
    objects = [(1, 3, 0), (1, 47, 0), (1, 1, 0), (2, 47, 0), (3, 1, 1)]
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "height": 30, "width": 40} for i in (1, 2, 3)
        ],
        "categories": [{"id": x["id"], "name": x["name"]} for x in COCO_CATEGORIES if x["isthing"]],
        "annotations": [
            square | {"id": number, "image_id": image, "category_id": category, "iscrowd": crowd}
            for number, (image, category, crowd) in enumerate(objects, 1)
        ],
    }
    register_coco_instances("public", {}, str(write_json(content, "coco.json")), str(tmp_path))


def take(cfg, batches):
    return list(itertools.islice(iter(build_train_loader(cfg)), batches))


def is_pseudo(clip):
    return len(set(clip["file_names"])) == 1


# Names and classes


def test_coco_takes_on_the_classes_of_a_public_video_set(public_coco, caplog):
    register_pseudo_clips("public_as_ytvis_2019")
    assert is_pseudo_clips("public_as_ytvis_2019")
    with caplog.at_level(logging.INFO):
        (record,) = DatasetCatalog.get("public_as_ytvis_2019")
    names = MetadataCatalog.get("public_as_ytvis_2019").thing_classes
    # A cup has no counterpart, an image of a cup or of a crowd only is removed.
    assert [names[a["category_id"]] for a in record["annotations"]] == ["sedan", "person"]
    assert "Removed 2 of 5 annotations, and 2 of 3 images" in caplog.text


@pytest.mark.parametrize("target", ["ytvis_2021", "ytvis_2021_val", "ovis", "ytvis_2022_train"])
def test_family_and_split_name_the_same_classes(public_coco, target):
    register_pseudo_clips(f"public_as_{target}")
    metadata = MetadataCatalog.get(f"public_as_{target}")
    assert len(metadata.thing_classes) == (25 if target == "ovis" else 40)
    # The ids that results of a model trained on it have.
    assert metadata.thing_dataset_id_to_contiguous_id[1] == 0
    (record,) = DatasetCatalog.get(f"public_as_{target}")
    names = [metadata.thing_classes[a["category_id"]].lower() for a in record["annotations"]]
    assert names == ["vehical" if target == "ovis" else "car", "person"]


def test_images_keep_their_own_classes_as_clips(public_coco):
    register_pseudo_clips("public_as_clips")
    assert len(DatasetCatalog.get("public_as_clips")) == 2
    assert len(MetadataCatalog.get("public_as_clips").thing_classes) == 80


def test_other_names_and_known_names_are_left_alone():
    register_pseudo_clips("no_such_set")
    assert "no_such_set" not in DatasetCatalog
    DatasetCatalog.register("my_as_own", lambda: [1])
    register_pseudo_clips("my_as_own")
    assert DatasetCatalog.get("my_as_own") == [1]
    register_pseudo_clips("coco_2017_train_as_ovis")
    register_pseudo_clips("coco_2017_train_as_ovis")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cocoo_as_ytvis_2019"], "no data set 'cocoo'"),
        (["coco_2017_train_as_ytvis2019"], "'ytvis2019' is neither a registered.*ytvis_2019, "),
        (["videos_as_videos"], "'videos' are videos already"),
        (["images_as_ovis"], "no image of 'images' has an object of a class of 'ovis_"),
        (["videos", "public_as_clips"], "thing_classes"),
    ],
)
def test_wrong_names_are_explained(cfg, public_coco, names, message):
    cfg.DATASETS.TRAIN = names
    with pytest.raises(ValueError, match=message):
        build_train_loader(cfg)


def test_class_counts_are_those_of_the_videos(cfg):
    cfg.DATASETS.TRAIN = ("videos", "images_as_clips", "images_as_videos")
    check_num_classes(cfg)
    cfg.DATASETS.TRAIN = ("coco_2017_train_as_ovis",)
    with pytest.raises(ValueError, match=r"'coco_2017_train_as_ovis' has 25 classes"):
        check_num_classes(cfg)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("videos",), ("images_as_videos",)
    with pytest.raises(ValueError, match=r"DATASETS\.TEST: 'images_as_videos'.*training only"):
        check_num_classes(cfg)


def test_a_mixture_of_images_and_videos_is_told_of_this_way(cfg):
    cfg.DATASETS.TRAIN = ("videos", "images")
    # Other numbers of classes come with it, and are not what is wrong.
    cfg.MODEL.NUM_CLASSES = 80
    for use in (build_train_loader, check_num_classes):
        with pytest.raises(ValueError, match=r"images \(images\) with videos.*'images_as_videos'"):
            use(cfg)
    cfg.DATASETS.TRAIN = ("images_as_clips", "images")
    with pytest.raises(ValueError, match="'images_as_clips'"):
        build_train_loader(cfg)


# Mixtures


def test_clips_of_both_kinds_share_batches(cfg):
    cfg.INPUT.SAMPLING_FRAME_NUM = 3
    cfg.SOLVER.IMS_PER_BATCH = 8
    clips = [clip for batch in take(cfg, 4) for clip in batch]
    assert {is_pseudo(clip) for clip in clips} == {True, False}
    for clip in clips:
        assert len(clip["image"]) == len(clip["instances"]) == len(clip["frame_idx"]) == 3


@pytest.mark.parametrize(("ratio", "share"), [((), None), ((1.0, 3.0), 0.75), ((3, 1), 0.25)])
def test_each_set_gives_its_share(cfg, ratio, share):
    cfg.DATASETS.RATIO = ratio
    loader = build_train_loader(cfg)
    videos, images = (len(part) for part in loader.dataset.datasets)
    share = images / (videos + images) if share is None else share
    drawn = list(itertools.islice(iter(loader.make_sampler(0)), 4000))
    assert sum(index >= videos for index in drawn) / 4000 == pytest.approx(share, abs=0.03)
    assert (loader.frames_per_epoch, loader.frames_per_sample) == (videos + images, 2)


def test_each_set_is_gone_through_before_it_repeats(cfg):
    cfg.DATASETS.RATIO = (1.0, 3.0)
    loader = build_train_loader(cfg)
    videos, images = (len(part) for part in loader.dataset.datasets)
    drawn = list(itertools.islice(iter(loader.make_sampler(0)), 4 * images))
    from_images = [index - videos for index in drawn if index >= videos]
    assert sorted(from_images[:images]) == list(range(images))
    assert from_images[:images] != from_images[images : 2 * images]


def test_processes_share_the_order_of_one(cfg, monkeypatch):
    cfg.DATASETS.RATIO = (1.0, 2.0)
    make_sampler = build_train_loader(cfg).make_sampler
    together = list(itertools.islice(iter(make_sampler(7)), 60))
    monkeypatch.setattr("mobileinst_d2.data.stream.comm.get_world_size", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr("mobileinst_d2.data.stream.comm.get_rank", lambda rank=rank: rank)
        assert list(itertools.islice(iter(make_sampler(7)), 30)) == together[rank::2]


@pytest.mark.parametrize(
    ("ratio", "message"),
    [
        ((1.0,), "differ in length"),
        ((1.0, 1.0, 1.0), "differ in length"),
        ((1.0, 0.0), r"\(1\.0, 0\.0\) must be of positive numbers"),
        ((1.0, -2.0), "positive"),
        ((1.0, float("inf")), "positive"),
        (("1", "2"), "positive"),
    ],
)
def test_a_wrong_ratio_is_refused(cfg, ratio, message):
    cfg.DATASETS.RATIO = ratio
    with pytest.raises(ValueError, match=rf"DATASETS\.RATIO.*{message}"):
        build_train_loader(cfg)


def test_a_ratio_needs_the_plain_sampler(cfg):
    cfg.DATASETS.RATIO = (1.0, 1.0)
    cfg.DATALOADER.SAMPLER_TRAIN = "RandomSubsetTrainingSampler"
    with pytest.raises(ValueError, match=r"RATIO needs DATALOADER\.SAMPLER_TRAIN"):
        build_train_loader(cfg)
