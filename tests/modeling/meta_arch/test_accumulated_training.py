"""A batch that runs in parts has the losses and gradients of the whole."""

import functools

import pytest
import torch
from detectron2.utils.events import EventStorage
from model_inputs import clip_input, freeze_statistics, image_input, rectangles
from small_fastinst import build_small_fastinst
from small_sparseinst import build_small_sparseinst
from tiny_models import FEW_LAYERS, build_tiny_model
from tiny_yolact import build_tiny_yolact

from mobileinst_core.errors import ConfigError
from mobileinst_d2.engine.train_step import build_train_step, split_batch

MANY = A, B, C, *_ = rectangles(96, 128, 25)
BATCHES = {
    "images": lambda: [image_input(objects=n, seed=n) for n in (1, 4, 0, 2)],
    "no objects": lambda: [image_input(objects=0, seed=n) for n in range(3)],
    "more objects than queries": lambda: [image_input(objects=n, seed=n) for n in (25, 1, 3)],
    "clips": lambda: [
        clip_input([[A, B], [B, None]]),
        clip_input([[A, None, C], [A, B, C]], seed=4),
        clip_input([[A], [None]], seed=5),
    ],
    "a crowd comes": lambda: [
        clip_input([[A, *[None] * 24], [A, *MANY[1:]]]),
        clip_input([[A, B, None], [None, B, C]], seed=4),
        clip_input([[A, B], [A, B]], seed=5),
    ],
}
# How to build a system, in how many parts its batches run, and which batches.
SYSTEMS = {
    **{
        f"mobileinst, {passing}": (
            functools.partial(
                build_tiny_model, MODEL__MOBILEINST__QUERY_PASSING=passing, **FEW_LAYERS
            ),
            3,
            [*BATCHES],
        )
        for passing in ("shared", "identity", "own")
    },
    "sparseinst": (build_small_sparseinst, 3, [*BATCHES]),
    "fastinst": (
        functools.partial(build_small_fastinst, MODEL__BACKBONE__NAME="TopFormer"),
        2,
        [*BATCHES],
    ),
    "yolact": (build_tiny_yolact, 2, ["images", "no objects"]),
}


def run_step(model, batch, parts):
    """Losses and gradients of one iteration."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    step = build_train_step(
        model, [batch], optimizer, amp=False, batch_size=len(batch), accumulation_steps=parts
    )
    freeze_statistics(model)
    step.iter = 0
    with EventStorage() as storage:
        step.run_step()
        losses = {k: v[0] for k, v in storage.latest().items() if "loss" in k}
    return losses, {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("system", SYSTEMS)
def test_parts_add_up_to_the_whole(system, monkeypatch):
    """With the same random points for all masks of FastInst, however many there are."""

    def same_for_all(first, *rest, **options):
        if "generator" in options:
            return real(first, *rest, **options)
        drawn = real(1, *rest, generator=torch.Generator().manual_seed(0), **options)
        return drawn.expand(first, *rest).clone()

    build, parts, kinds = SYSTEMS[system]
    real, model = torch.rand, build()
    for kind in kinds:
        batch = BATCHES[kind]()
        with monkeypatch.context() as patch:
            patch.setattr(torch, "rand", same_for_all)
            whole_losses, whole = run_step(model, batch, 1)
            losses, gradients = run_step(model, batch, parts)
        assert losses == pytest.approx(whole_losses, rel=1e-4, abs=1e-6), kind
        largest = max(gradient.abs().max() for gradient in whole.values()).item()
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, whole[name], rtol=1e-3, atol=1e-5 * largest)


def test_parts_differ_by_one_sample_at_most():
    assert split_batch([1, 2, 3, 4, 5], 3) == [[1, 2], [3, 4], [5]]


@pytest.mark.parametrize("parts", [0, 5])
def test_more_parts_than_samples_are_refused(parts):
    model = build_tiny_model(**FEW_LAYERS)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with pytest.raises(ConfigError, match=r"ACCUMULATION_STEPS is .: choose 1 to 4"):
        build_train_step(model, [], optimizer, amp=False, batch_size=4, accumulation_steps=parts)
