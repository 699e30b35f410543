"""Measure memory and speed of video prediction: of whole videos, live, and by kind of frame.

The video is a moving image, and each part runs in a process of its own. Every prediction has the
full number of tracks, TEST.DETECTIONS_PER_IMAGE, whatever their scores; without MODEL.WEIGHTS their
masks get shapes from random kernels.

Example::

    python benchmarks/video.py \\
        --config-file configs/mobileinst/mobileinst_topformer-b_ytvis19.yaml --json video.json
"""

import argparse
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch
from processes import in_new_process
from reporting import describe_machine
from tabulate import tabulate
from video_work import (
    FrameCost,
    LiveCost,
    WholeVideoCost,
    measure_frames,
    measure_live,
    measure_whole_video,
    moving_image,
    shape_masks,
)

from mobileinst_core.arguments import whole_number
from mobileinst_core.command import command
from mobileinst_core.files import write_json
from mobileinst_d2.engine import (
    ConfigError,
    setup_cfg,
)
from mobileinst_d2.engine.predictor import load_predictor
from mobileinst_d2.modeling import VideoSegmentor
from mobileinst_d2.tracking import StreamingPredictor, VideoPredictor, video_network
from mobileinst_d2.utils.resizing import build_frame_preparation

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY, build_model

MIB = 2**20
CLIP_LENGTHS = (1, 3, 6)
# Frames that are not counted.
LIVE_WARM_UP, PAIRS_WARM_UP = 50, 10


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE", help="a yaml config")
    size = {"nargs": 2, "type": whole_number(32), "metavar": ("H", "W"), "default": (1080, 1920)}
    add("--size", **size, help="of the frames, default 1080 1920")
    for name, default, purpose in (
        ("frames", 500, "length of the whole video"),
        ("steps", 2000, "frames of live prediction"),
        ("pairs", 50, "key frames to time, in turn with frames that reuse their kernels"),
    ):
        add(
            f"--{name}",
            type=whole_number(0),
            default=default,
            metavar="N",
            help=f"{purpose}, default {default}; 0 leaves this part out",
        )
    add("--json", type=Path, metavar="FILE", help="also write all numbers")
    add("opts", nargs=argparse.REMAINDER, help="config overrides: KEY VALUE ...")
    return parser.parse_args(argv)


class Bench:
    """A model that shows every track whatever its score, and what to predict with it."""

    def __init__(self, cfg: CfgNode, size: tuple[int, int]) -> None:
        """Build or load the model."""
        self.cfg = cfg.clone()
        self.cfg.TEST.SCORE_THRESHOLD = 0.0
        self.cfg.TEST.STREAMING.SCORE_ON = self.cfg.TEST.STREAMING.SCORE_OFF = 0.0
        self.cfg.TEST.STREAMING.MAX_INSTANCES = cfg.TEST.DETECTIONS_PER_IMAGE
        self.frames = moving_image(size)
        self.prepare = build_frame_preparation(cfg)
        if cfg.MODEL.WEIGHTS:
            self.model = load_predictor(cfg).model
        else:
            torch.manual_seed(0)
            model = build_model(cfg).eval()
            self.model = shape_masks(video_network(model), self.prepare(next(self.frames)))


def check_tracks(cfg: CfgNode) -> None:
    """Refuse models of single images before anything is measured."""
    name = cfg.MODEL.META_ARCHITECTURE
    if name not in META_ARCH_REGISTRY or not issubclass(
        META_ARCH_REGISTRY.get(name), VideoSegmentor
    ):
        raise ConfigError(f"MODEL.META_ARCHITECTURE {name} cannot track through videos.")


def run_whole_video(cfg: CfgNode, size: tuple[int, int], num_frames: int) -> WholeVideoCost:
    """Predict so many frames as one video, after one that warms up."""
    bench = Bench(cfg, size)
    images = map(bench.prepare, islice(bench.frames, num_frames + 1))
    return measure_whole_video(VideoPredictor(bench.cfg, bench.model), images, size)


def run_live(cfg: CfgNode, size: tuple[int, int], steps: int) -> LiveCost:
    """Track so many frames live."""
    bench = Bench(cfg, size)
    predictor = StreamingPredictor(bench.cfg, bench.model)
    return measure_live(predictor, bench.frames, steps, LIVE_WARM_UP)


def run_pairs(cfg: CfgNode, size: tuple[int, int], pairs: int) -> tuple[FrameCost, FrameCost]:
    """Time key frames and others in turn."""
    bench = Bench(cfg, size)
    bench.cfg.TEST.TRACKING.CLIP_LEN = 2
    predictor = StreamingPredictor(bench.cfg, bench.model)
    frames = islice(bench.frames, PAIRS_WARM_UP + 2 * pairs)
    return measure_frames(predictor, frames, PAIRS_WARM_UP)


def whole_video_table(cost: WholeVideoCost) -> list[tuple[str, str]]:
    """Names and values."""
    return [
        ("frames", f"{cost.frames}"),
        ("tracks", f"{cost.tracks}"),
        ("encoded masks", f"{cost.masks}"),
        ("their mean size", f"{cost.mask_bytes / max(cost.masks, 1):.0f} bytes"),
        ("resident memory with the model", f"{cost.before / MIB:.0f} MiB"),
        ("peak", f"{cost.peak / MIB:.0f} MiB"),
        ("**peak beyond the model**", f"**{(cost.peak - cost.before) / MIB:.0f} MiB**"),
        ("frames per second", f"{cost.frames / cost.seconds:.2f}"),
    ]


def live_table(cost: LiveCost) -> list[tuple[str, str]]:
    """Names and values."""
    return [
        ("steps after the warm-up", f"{cost.steps}"),
        ("instances per frame", f"{cost.instances:.1f}"),
        ("resident memory after the warm-up", f"{cost.before.now / MIB:.0f} MiB"),
        ("**growth**", f"**{(cost.after.now - cost.before.now) / MIB:+.1f} MiB**"),
        ("peak", f"{cost.after.peak / MIB:.0f} MiB"),
        ("growth of the peak", f"{(cost.after.peak - cost.before.peak) / MIB:+.1f} MiB"),
        ("frames per second", f"{cost.steps / cost.seconds:.2f}"),
    ]


def frames_table(step: FrameCost, network: FrameCost) -> list[tuple[str, ...]]:
    """Rows of milliseconds of the whole step and of the network, with ratios to key frames."""

    def cells(cost: FrameCost, seconds: float) -> tuple[str, str]:
        return f"{1000 * seconds:.1f}", f"{seconds / cost.keyframe:.3f}"

    rows = [("reuse frame", *cells(step, step.reuse), *cells(network, network.reuse))]
    for clip_len in CLIP_LENGTHS:
        name = "T = 1 (key frame)" if clip_len == 1 else f"T = {clip_len}"
        parts = [cells(cost, cost.per_frame(clip_len)) for cost in (step, network)]
        rows.append((name, *parts[0], *parts[1]))
    return rows


class Report:
    """Prints each part as soon as it is known, and keeps the JSON file up to date."""

    def __init__(self, title: str, json_file: Path | None, **about: object) -> None:
        """Begin; a file that cannot be written is known before anything is measured."""
        self.json_file = json_file
        self.content: dict[str, object] = {"machine": describe_machine(), **about}
        self._save()
        print(f"{title}; {self.content['machine']}", flush=True)

    def add(self, headers: tuple[str, ...], rows: list[tuple[str, ...]], **numbers: dict) -> None:
        """Add a part: its table, and its numbers for JSON."""
        align = ("left",) + ("right",) * (len(headers) - 1)
        table = tabulate(rows, headers, tablefmt="github", colalign=align, disable_numparse=True)
        print(f"\n{table}", flush=True)
        self.content |= numbers
        self._save()

    def _save(self) -> None:
        if self.json_file:
            write_json(self.json_file, self.content)


def measure(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Run the parts that are asked for."""
    height, width = size = tuple(args.size)
    clip_len = cfg.TEST.TRACKING.CLIP_LEN
    title = f"{args.config_file}, T = {clip_len}, frames of {width}x{height}"
    about = {"config": args.config_file, "clip_len": clip_len, "size": size}
    report = Report(title, args.json, **about)
    if args.frames:
        cost = in_new_process(run_whole_video, cfg, size, args.frames)
        report.add(("whole video", ""), whole_video_table(cost), whole_video=cost._asdict())
    if args.steps:
        cost = in_new_process(run_live, cfg, size, args.steps)
        memory = {name: getattr(cost, name)._asdict() for name in ("before", "after")}
        report.add(("live", ""), live_table(cost), live=cost._asdict() | memory)
    if args.pairs:
        step, network = in_new_process(run_pairs, cfg, size, args.pairs)
        report.add(
            ("median ms per frame", "step", "ratio", "network", "ratio"),
            frames_table(step, network),
            step_seconds=step._asdict(),
            network_seconds=network._asdict(),
        )


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print.

    Args:
        argv: arguments after the program's name; by default those of the process.
    """
    args = parse_args(argv)
    cfg = setup_cfg(args.config_file, args.opts)
    check_tracks(cfg)
    measure(cfg, args)


if __name__ == "__main__":
    sys.exit(main())
