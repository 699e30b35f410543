"""A batch that runs in parts has the losses and gradients of the whole."""

import functools

import pytest
import torch
from detectron2.utils.events import EventStorage
from model_inputs import clip_input, image_input, rectangles
from small_fastinst import build_small_fastinst
from test_mobileinst_training import freeze_statistics
from tiny_models import FEW_LAYERS, build_tiny_model

from mobileinst_core.errors import ConfigError
from mobileinst_d2.engine.train_step import build_train_step, split_batch

A, B, C = rectangles(96, 128, 3)
BATCHES = {
    "images": lambda: [image_input(objects=n, seed=n) for n in (1, 4, 0, 2)],
    "clips": lambda: [
        clip_input([[A, B], [B, None]]),
        clip_input([[A, None, C], [A, B, C]], seed=4),
        clip_input([[A], [None]], seed=5),
    ],
    "no objects": lambda: [image_input(objects=0, seed=n) for n in range(3)],
}


def run_step(batch, parts, build=lambda: build_tiny_model(**FEW_LAYERS)):
    """Losses and gradients of one iteration."""
    torch.manual_seed(0)
    model = freeze_statistics(build())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    step = build_train_step(
        model, [batch], optimizer, amp=False, batch_size=len(batch), accumulation_steps=parts
    )
    freeze_statistics(model)
    step.iter = 0
    with EventStorage() as storage:
        step.run_step()
        losses = {k: v[0] for k, v in storage.latest().items() if "loss" in k}
    return losses, {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("kind", BATCHES)
def test_parts_add_up_to_the_whole(kind):
    compare(*(run_step(BATCHES[kind](), n) for n in (1, 3)))


@pytest.mark.parametrize("kind", [*BATCHES, "more objects than queries"])
def test_parts_of_fastinst_add_up_to_the_whole(kind, monkeypatch):
    """With the same random points for all masks, however many there are."""

    def same_for_all(first, *rest, **options):
        if "generator" in options:
            return real(first, *rest, **options)
        drawn = real(1, *rest, generator=torch.Generator().manual_seed(0), **options)
        return drawn.expand(first, *rest).clone()

    real = torch.rand
    monkeypatch.setattr(torch, "rand", same_for_all)
    # Twelve queries.
    make = BATCHES.get(kind, lambda: [image_input(objects=n, seed=n) for n in (20, 1)])
    build = functools.partial(build_small_fastinst, MODEL__BACKBONE__NAME="TopFormer")
    compare(*(run_step(make(), n, build) for n in (1, 2)))


def compare(whole, parts):
    """Assert that losses and gradients are the same."""
    (whole_losses, whole_gradients), (losses, gradients) = whole, parts
    assert losses == pytest.approx(whole_losses, rel=1e-4, abs=1e-6)
    largest = max(gradient.abs().max() for gradient in whole_gradients.values())
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            gradient, whole_gradients[name], rtol=1e-3, atol=1e-5 * largest.item()
        )


def test_parts_differ_by_one_sample_at_most():
    assert split_batch([1, 2, 3, 4, 5], 3) == [[1, 2], [3, 4], [5]]


@pytest.mark.parametrize("parts", [0, 5])
def test_more_parts_than_samples_are_refused(parts):
    model = build_tiny_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with pytest.raises(ConfigError, match=r"ACCUMULATION_STEPS is .: choose 1 to 4"):
        build_train_step(model, [], optimizer, amp=False, batch_size=4, accumulation_steps=parts)
