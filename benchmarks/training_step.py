"""Measure what a choice saves of a training step on the CPU.

Two ways are timed interleaved on the same network and batch, forward and backward, CPU time: with
the masks of matched queries upsampled alone, as training does, or those of all queries, which must
give the same losses; and with weights in the order "channels last", as training has them, or not,
where sums are rounded otherwise, and queries that are alike may change places.

Example::

    python benchmarks/training_step.py --size 320 320 --repeats 5
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from reporting import describe_machine, markdown_table

from mobileinst_core.arguments import whole_number
from mobileinst_core.command import command
from mobileinst_d2.engine import setup_cfg

from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIG = REPOSITORY / "configs" / "mobileinst" / "mobileinst_mobilenetv4-s_128_dw_coco.yaml"
WAYS = ("as in training", "all masks upsampled", "channels first")
TOLERANCE = 1e-6


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, count = parser.add_argument, whole_number(1)
    add("--config-file", default=str(CONFIG), metavar="FILE", help=f"default {CONFIG.name}")
    add("--size", nargs=2, type=whole_number(64), default=(320, 320), metavar=("H", "W"))
    add("--images", type=count, default=2, metavar="N", help="of a batch, default 2")
    add("--objects", type=count, default=7, metavar="N", help="of an image, default 7, as COCO has")
    add("--repeats", type=count, default=5, metavar="N", help="default 5")
    return parser.parse_args(argv)


def make_batch(args: argparse.Namespace) -> list[dict]:
    """Noise with rectangular objects of the first class, always the same."""
    generator, (height, width) = torch.Generator().manual_seed(0), args.size
    batch = []
    for _ in range(args.images):
        masks = torch.zeros(args.objects, height, width, dtype=torch.bool)
        for mask in masks:
            y, x = (torch.rand(2, generator=generator) * 0.7).tolist()
            top, left = int(y * height), int(x * width)
            mask[top : top + height // 5, left : left + width // 5] = True
        instances = Instances((height, width))
        instances.gt_masks = BitMasks(masks)
        instances.gt_boxes = Boxes(instances.gt_masks.get_bounding_boxes().tensor)
        instances.gt_classes = torch.zeros(args.objects, dtype=torch.int64)
        image = torch.randint(0, 256, (3, height, width), generator=generator).float()
        batch.append({"image": image, "instances": instances, "height": height, "width": width})
    return batch


def step(model: torch.nn.Module, batch: list[dict]) -> dict[str, float]:
    """The losses of a batch, after the backward pass."""
    torch.manual_seed(0)  # some networks drop paths
    model.zero_grad()
    losses = model(batch)
    sum(losses.values()).backward()
    return {name: loss.item() for name, loss in losses.items()}


def upsampling_all(model: torch.nn.Module) -> None:
    """Let a network's criterion upsample the masks of all queries first, with a gradient."""
    losses_of = model.criterion.forward

    def forward(outputs: dict[str, torch.Tensor], *rest: object) -> dict[str, torch.Tensor]:
        masks = model.upsample_mask_logits(outputs["mask_logits"])
        return losses_of({**outputs, "mask_logits": masks}, *rest)

    model.criterion.forward = forward


def measure(args: argparse.Namespace) -> dict[str, tuple[float, dict[str, float]]]:
    """Median CPU seconds and losses of each way."""
    cfg = setup_cfg(args.config_file, ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.WEIGHTS", ""])
    torch.manual_seed(0)
    model = build_model(cfg).train()
    batch, losses = make_batch(args), {}
    forward, seconds = model.criterion.forward, {way: [] for way in WAYS}
    for repeat in range(1 + args.repeats):  # the first one warms up
        for way in WAYS:
            order = torch.contiguous_format if way == "channels first" else torch.channels_last
            model.to(memory_format=order)
            model.criterion.forward = forward
            if way == "all masks upsampled":
                upsampling_all(model)
            start = time.process_time()
            found = step(model, batch)
            if repeat:
                seconds[way].append(time.process_time() - start)
            else:
                losses[way] = found
    return {way: (statistics.median(values), losses[way]) for way, values in seconds.items()}


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status is not 0 if the losses differ.

    Args:
        argv: arguments after the program's name; by default those of the process.
    """
    args = parse_args(argv)
    torch.set_num_threads(1)
    found = measure(args)
    first, losses = found[WAYS[0]]
    others = found["all masks upsampled"][1]
    worst = max(abs(losses[name] - others[name]) for name in losses)
    if worst > TOLERANCE:
        print(f"the losses differ by {worst:.1e}: {losses}, {others}", file=sys.stderr)
        return 1
    height, width = args.size
    print(
        f"{Path(args.config_file).stem}, {args.images} images of {width}x{height} with "
        f"{args.objects} objects; the losses differ by {worst:.0e} at most; medians of "
        f"{args.repeats}; one thread; {describe_machine()}\n"
    )
    rows = [(way, f"{own:.2f}", f"{first / own:.2f}") for way, (own, _) in found.items()]
    print(markdown_table(("way", "CPU s per step", "training takes of it"), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
