"""With the published weights' names, SparseInst gives what the public code gives."""

from types import ModuleType

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from published_results import check_results, official_file, records, truth, watch

from mobileinst_d2.checkpoint import TrainingCheckpointer
from mobileinst_d2.checkpoint.published import find_published_layout
from mobileinst_d2.engine import Trainer, load_predictor, setup_cfg
from mobileinst_d2.modeling.criterion import SparseInstCriterion
from mobileinst_d2.modeling.matcher import HungarianMatcher
from mobileinst_d2.modeling.targets import prepare_targets

LOSSES = {
    "loss_cls": "loss_ce",
    "loss_obj": "loss_objectness",
    "loss_dice": "loss_dice",
    "loss_mask": "loss_mask",
}

pytestmark = pytest.mark.usefixtures("drawn_ones")  # which files replace


def config(repository, name: str, *opts: object) -> CfgNode:
    path = repository / "configs" / "sparseinst" / f"sparseinst_{name}_coco.yaml"
    return setup_cfg(str(path), ["MODEL.DEVICE", "cpu", *opts])


@pytest.mark.parametrize(
    ("case", "name", "features"),
    [
        ("sparseinst_r50_iam", "r50_iam", ["res3", "res4", "res5"]),
        ("sparseinst_r50vd_iam", "r50d_iam", ["x3", "x4", "x5"]),
    ],
)
def test_outputs_and_results_are_the_published_ones(
    repository, published, tmp_path, case, name, features
):
    meta, arrays = published.load(case)
    weights = official_file(published, meta["keys"], tmp_path / "official.pth")
    shortest, longest = meta["test_size"]
    sizes = ("INPUT.MIN_SIZE_TEST", shortest, "INPUT.MAX_SIZE_TEST", longest)
    cfg = config(repository, name, "MODEL.WEIGHTS", weights, *sizes)
    predictor = load_predictor(cfg)
    model = predictor.model
    batch = records(published, meta, predictor)
    seen = watch(model.backbone, model.encoder)
    with torch.no_grad():
        padded = model.preprocess_image(batch).tensor
        raw = model.raw_outputs(padded)
        pyramid, encoded = seen
        together = model(batch)
    assert list(padded.shape[-2:]) == meta["padded"]
    found = {
        **dict(zip(("res3", "res4", "res5"), (pyramid[x] for x in features), strict=True)),
        "encoder": encoded,
        "pred_kernel": raw["kernels"],
        "mask_features": raw["mask_features"],
        "pred_logits": raw["class_logits"],
        "pred_scores": raw["objectness_logits"][..., None],
        "pred_masks": raw["mask_logits"],
    }
    for key, value in found.items():
        comparison = published.compare(meta, arrays, key, value.numpy())
        assert comparison["ok"], (key, comparison)
    for expected, result in zip(meta["results"], together, strict=True):
        check_results(published, expected, result["instances"])


@pytest.mark.parametrize("normalization", ["global", "as_published"])
def test_matching_losses_and_gradients_are_the_published_ones(published, normalization):
    meta, arrays = published.load("sparseinst_criterion_1_5")
    outputs, targets = criterion_case(published, meta)
    for image, (queries, objects) in enumerate(
        HungarianMatcher()(outputs["class_logits"], outputs["mask_logits"], targets)
    ):
        order = arrays[f"image{image}_targets"].argsort()
        assert queries[objects.argsort()].tolist() == (
            arrays[f"image{image}_queries"][order].tolist()
        )
    losses = criterion(normalization)(outputs, targets)
    for name, official in LOSSES.items():
        expected = meta["losses"]["weighted"][official]
        assert losses[name].item() == pytest.approx(expected, rel=1e-5), name
    sum(losses.values()).backward()
    gradients = {
        "grad_pred_logits": outputs["class_logits"].grad,
        "grad_pred_masks": outputs["mask_logits"].grad,
        "grad_pred_scores": outputs["objectness_logits"].grad[..., None],
    }
    for key, value in gradients.items():
        if key in arrays:
            np.testing.assert_allclose(value.numpy(), arrays[key], rtol=1e-4, atol=1e-6)
        else:
            assert published.compare(meta, arrays, key, value.numpy())["max"] < 1e-6


def test_two_images_without_objects_train_where_the_public_code_raises(published):
    meta, _ = published.load("sparseinst_criterion_0_0")
    assert "IndexError" in meta["exception"]
    outputs, targets = criterion_case(published, meta)
    losses = criterion("as_published")(outputs, targets)
    assert losses["loss_cls"] > 0
    assert [losses[name].item() for name in ("loss_dice", "loss_mask", "loss_obj")] == [0, 0, 0]
    sum(losses.values()).backward()
    assert outputs["mask_logits"].grad is not None


def criterion(normalization: str) -> SparseInstCriterion:
    return SparseInstCriterion(
        matcher=HungarianMatcher(), mask_weight=5.0, normalization=normalization
    )


def criterion_case(published: ModuleType, meta: dict) -> tuple[dict, list]:
    """Predictions and targets by rule, see ``how`` in the case."""
    rule, tag, size = published.rule, meta["tag"], meta["input_shape"]
    mask_size = (size[0] // 4, size[1] // 4)
    outputs = {
        "class_logits": rule.values(f"{tag}:logits", (2, 100, 80), 1.5, -2.5),
        "mask_logits": rule.smooth(f"{tag}:masks", (2, 100, *mask_size), 5.0, 16),
        "objectness_logits": rule.values(f"{tag}:scores", (2, 100, 1), 1.5)[..., 0],
    }
    outputs = {name: torch.from_numpy(x).requires_grad_() for name, x in outputs.items()}
    instances = [
        truth(rule.targets(f"{tag}:image{i}", count, *image_size))
        for i, (count, image_size) in enumerate(
            zip(meta["counts"], meta["image_sizes"], strict=True)
        )
    ]
    return outputs, prepare_targets(instances, tuple(size), mask_size, torch.device("cpu"))


def test_own_checkpoints_are_no_published_files(repository, tmp_path):
    model = Trainer.build_model(config(repository, "topformer-b"))
    checkpointer = TrainingCheckpointer(model, str(tmp_path))
    checkpointer.save("model_final")
    assert find_published_layout(model.state_dict()) is None
    checkpointer.load(str(tmp_path / "model_final.pth"))
