"""YOLACT as a whole: published results, training on hard input, what it predicts."""

import numpy as np
import pytest
import torch
from annotation_files import custom_dataset
from detectron2.structures import BitMasks, Instances
from published_results import official_file, watch
from tiny_yolact import build_lively_yolact, build_tiny_yolact, tiny_yolact_config, training_record

from mobileinst_d2.analysis import measure_cost
from mobileinst_d2.data import build_test_loader
from mobileinst_d2.engine import Trainer, load_predictor, setup_cfg

CONFIGS = "configs/yolact"


def published_config(repository, name, *opts):
    return setup_cfg(repository / CONFIGS / f"{name}.yaml", ["MODEL.DEVICE", "cpu", *opts])


@pytest.mark.usefixtures("drawn_ones")
def test_the_published_file_gives_the_published_results(repository, published, tmp_path):
    meta, arrays = published.load("yolact_r50")
    weights = official_file(published, "yolact_resnet50", tmp_path / "official.pth")
    cfg = published_config(repository, "yolact_r50_coco", "MODEL.WEIGHTS", weights)
    images = [published.image(spec) for spec in meta["images"]]
    batch = [{"image": torch.from_numpy(x.transpose(2, 0, 1).copy())} for x in images]
    predictor = load_predictor(cfg)
    model = predictor.model
    assert sum(p.numel() for p in model.parameters()) == published.keys(meta["keys"])["parameters"]
    seen = watch(model.backbone, model.pyramid)
    with torch.no_grad():
        inputs = model.preprocess_image(batch).tensor
        found = model.raw_outputs(inputs)
    features, levels = seen
    arrays_found = {
        "C3": features["res3"],
        "C4": features["res4"],
        "C5": features["res5"],
        **{f"P{i}": x for i, x in enumerate(levels, 3)},
        "loc": found["box_deltas"],
        "conf": found["class_logits"],
        "mask": found["coefficients"],
        "proto": found["prototypes"].permute(0, 2, 3, 1),
        "segm": found["semantic_logits"],
    }
    assert published.compare(meta, arrays, "input", inputs.numpy())["max"] < 1e-5
    for key, value in arrays_found.items():
        assert published.compare(meta, arrays, key, value.numpy())["ok"], key
    # Through the demo's way with BGR, and through evaluation's.
    first, second = meta["results"]
    one = predictor.predict(np.ascontiguousarray(images[0][:, :, ::-1]))
    check_results(published, first, one.classes, one.scores, one.boxes, one.masks)
    with torch.no_grad():
        other = model(batch[1:])[0]["instances"]
    fields = (other.pred_classes, other.scores, other.pred_boxes.tensor, other.pred_masks)
    check_results(published, second, *(x.numpy() for x in fields))


def check_results(published, expected, classes, scores, boxes, masks):
    assert classes.tolist() == expected["classes"]
    allowed = 10 * expected["float64"]["scores_max"] + 1e-5
    np.testing.assert_allclose(scores, expected["scores"], rtol=0, atol=allowed)
    np.testing.assert_allclose(boxes, expected["boxes_float"], rtol=0, atol=0.01)
    wanted = published.masks(expected)
    union = (wanted | masks).sum((1, 2))
    iou = (wanted & masks).sum((1, 2)) / np.maximum(union, 1)
    assert iou[wanted.sum((1, 2)) >= 200].min() >= 0.995


@pytest.mark.usefixtures("drawn_ones")
def test_costs_are_the_published_ones(repository):
    cfg = published_config(repository, "yolact_r50_coco")
    cost = measure_cost(Trainer.build_model(cfg), (550, 550))
    parts = dict.fromkeys(("backbone", "head"), 0)
    for name, macs, _ in cost.by_module:
        if name.split(".")[0] in parts:
            parts[name.split(".")[0]] += macs
    # fvcore in evaluation, batch norms counted, resizes too; the semantic head is not run.
    assert [round(macs / 1e9, 2) for macs in (*parts.values(), cost.macs)] == [25.59, 8.97, 59.3]
    assert round(cost.params / 1e6, 3) == 31.165


def test_objects_without_a_pixel_and_small_ones_are_left_out():
    # The public code means to discard boxes below 4 pixels and compares with 4 / 550.
    record = training_record((70, 90), [(0, 0, 3, 50), (10, 10, 14, 14), (20, 20, 60, 60)])
    model = build_tiny_yolact()
    assert model._targets([record])[0].labels.tolist() == [1, 2]
    assert build_tiny_yolact(MODEL__YOLACT__MIN_BOX_SIZE=0.0)._targets([record])[
        0
    ].labels.tolist() == [0, 1, 2]
    gone = Instances((70, 90))
    gone.gt_classes, gone.gt_masks = torch.tensor([1]), BitMasks(torch.zeros(1, 70, 90).bool())
    assert len(model._targets([{**record, "instances": gone}])[0].labels) == 0


def test_images_of_any_shape_are_stretched_and_their_results_are_of_their_size():
    model = build_lively_yolact()
    shapes = [(64, 200), (140, 33)]
    batch = [{"image": 255 * torch.rand(3, *shape)} for shape in shapes]
    batch[1].update(height=70, width=99)
    with torch.no_grad():
        found = [x["instances"] for x in model(batch)]
        alone = model(batch[:1])[0]["instances"]
    for instances, size in zip(found, [(64, 200), (70, 99)], strict=True):
        assert instances.image_size == size
        assert tuple(instances.pred_masks.shape[1:]) == size
        assert len(instances) > 10
        boxes = instances.pred_boxes.tensor
        assert boxes.min() >= 0
        assert (boxes.amax(0)[2:] <= torch.tensor(size[::-1])).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        # Predictions of their own, not the bounds of masks.
        assert not torch.equal(boxes, BitMasks(instances.pred_masks).get_bounding_boxes().tensor)
    torch.testing.assert_close(alone.scores, found[0].scores, rtol=1e-4, atol=1e-5)


def test_a_fixed_size_of_other_systems_is_refused():
    with pytest.raises(ValueError, match=r"MODEL\.YOLACT\.INPUT_SIZE"):
        build_tiny_yolact(INPUT__FIXED_SIZE_TEST=(64, 64))


def test_it_evaluates_boxes_and_masks(moving_shapes):
    custom = custom_dataset(moving_shapes / "val", "yolact_val", "coco")
    cfg = tiny_yolact_config(DATASETS__CUSTOM=[custom], DATASETS__TEST=("yolact_val",))
    batch = next(iter(build_test_loader(cfg, "yolact_val")))
    # The mapper leaves the size to the model.
    assert batch[0]["image"].shape[-2:] == (batch[0]["height"], batch[0]["width"])
    evaluator = Trainer.build_evaluator(cfg, "yolact_val")
    model = build_lively_yolact()
    evaluator.reset()
    with torch.no_grad():
        evaluator.process(batch, model(batch))
    assert set(evaluator.evaluate()) == {"bbox", "segm"}
