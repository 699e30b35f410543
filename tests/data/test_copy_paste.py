"""Objects pasted from one sample onto another keep pixels, classes and identities together."""

import numpy as np
import pytest
import torch
from annotation_files import custom_dataset

from mobileinst_d2.data import build_train_loader, register_custom_datasets
from mobileinst_d2.data.mappers.copy_paste import CopyPasteMapper, paste_objects
from mobileinst_d2.data.mappers.samples import make_clip_instances, make_instances


def square(size, top, left, side):
    mask = torch.zeros(size, dtype=torch.bool)
    mask[top : top + side, left : left + side] = True
    return mask


def clip(grey, size, tracks):
    """Two frames of one grey; tracks: {id: (class, [mask of each frame])}."""
    images = [torch.full((3, *size), grey, dtype=torch.uint8) for _ in range(2)]
    masks = [torch.stack([masks[t] for _, masks in tracks.values()]) for t in range(2)]
    instances = make_clip_instances(masks, [c for c, _ in tracks.values()], list(tracks))
    return {"image": images, "instances": instances, "video_id": grey}


@pytest.mark.parametrize("other_size", [(20, 30), (32, 48), (64, 40)])
def test_a_pasted_track_keeps_its_motion_and_covers_what_lies_below(other_size):
    size = (32, 48)
    below = torch.ones(size, dtype=torch.bool)
    target = clip(10, size, {3: (1, [below, below])})
    top, left = other_size[0] // 2 - 3, other_size[1] // 2 - 5
    moving = [square(other_size, top, left, 6), square(other_size, top, left + 4, 6)]
    source = clip(200, other_size, {0: (2, moving)})
    result = paste_objects(target, source)
    assert result["video_id"] == 10
    corners = []
    for image, instances in zip(result["image"], result["instances"], strict=True):
        own, new = instances.gt_masks.tensor
        assert image.shape == (3, *size)
        assert torch.equal(image[0] == 200, new)
        assert not (own & new).any()
        assert (own | new).all()
        assert instances.gt_classes.tolist() == [1, 2]
        assert torch.equal(
            instances.gt_boxes.tensor, instances.gt_masks.get_bounding_boxes().tensor
        )
        corners.append(new.nonzero().amin(0).tolist())
    assert [frame.gt_ids.tolist() for frame in result["instances"]] == [[3, 4], [3, 4]]
    (top, left), (next_top, next_left) = corners
    assert next_top == top
    # Where the left edge of the frame cuts the first, it has moved by less.
    assert next_left - left == 4 or left == 0


def test_what_is_covered_everywhere_is_left_out():
    size = (16, 16)
    small = square(size, 4, 4, 3)
    everything = torch.ones(size, dtype=torch.bool)
    result = paste_objects(
        clip(10, size, {0: (1, [small, small])}), clip(200, size, {0: (2, [everything] * 2)})
    )
    assert [frame.gt_classes.tolist() for frame in result["instances"]] == [[2], [2]]


def test_an_object_that_is_invisible_in_one_frame_stays_so():
    size = (24, 24)
    nothing = torch.zeros(size, dtype=torch.bool)
    target = clip(10, size, {1: (0, [square(size, 0, 0, 4), nothing])})
    source = clip(200, size, {5: (2, [nothing, square(size, 12, 12, 6)])})
    first, second = paste_objects(target, source)["instances"]
    assert first.gt_ids.tolist() == [1, -1]
    assert second.gt_ids.tolist() == [-1, 7]


def test_images_without_objects_paste_nothing():
    def image(grey, masks):
        stacked = torch.stack(masks) if masks else torch.zeros(0, 8, 8, dtype=torch.bool)
        return {
            "image": torch.full((3, 8, 8), grey, dtype=torch.uint8),
            "instances": make_instances(stacked, [0] * len(masks)),
        }

    target = image(10, [square((8, 8), 0, 0, 4)])
    assert paste_objects(target, image(200, [])) is target
    result = paste_objects(image(10, []), image(200, [square((8, 8), 2, 2, 3)]))
    assert result["instances"].gt_masks.tensor.sum() == (result["image"][0] == 200).sum() == 9


@pytest.mark.parametrize("kind", ["ytvis", "coco"])
def test_the_loader_pastes_and_stays_a_function_of_the_seed(cfg, moving_shapes, kind):
    cfg.DATASETS.CUSTOM = [custom_dataset(moving_shapes / "train", "paste_me", kind)]
    cfg.DATASETS.TRAIN = ("paste_me",)
    register_custom_datasets(cfg)

    def objects(workers):
        cfg.DATALOADER.NUM_WORKERS = workers
        samples = [x for _, batch in zip(range(6), build_train_loader(cfg)) for x in batch]  # noqa: B905
        frames = [x["instances"][0] if kind == "ytvis" else x["instances"] for x in samples]
        return [frame.gt_masks.tensor.sum().item() for frame in frames], sum(map(len, frames))

    _, before = objects(0)
    cfg.INPUT.COPY_PASTE = 1.0
    areas, after = objects(0)
    assert after > before
    assert objects(1)[0] == areas


def test_a_refused_second_sample_leaves_the_first(monkeypatch):
    monkeypatch.setattr(np.random, "rand", lambda *_: 0.0)
    sample = {"image": torch.zeros(3, 4, 4)}
    mapper = CopyPasteMapper(lambda record: record.get("sample"), [{}], 1.0)
    assert mapper({"sample": sample}) is sample
    assert mapper({}) is None
