"""Measure memory and speed of video prediction: of whole videos, live, and by kind of frame.

The video is a moving image, and each part runs in a process of its own. Every prediction has the
full number of tracks, TEST.DETECTIONS_PER_IMAGE, whatever their scores; without MODEL.WEIGHTS their
masks get shapes from random kernels.

Example::

    python benchmarks/video.py \\
        --config-file configs/mobileinst/mobileinst_topformer-b_ytvis19.yaml --json video.json
"""

import argparse
import itertools
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from processes import ResidentMemory, in_new_process, resident_memory
from reporting import describe_machine
from tabulate import tabulate

from mobileinst_core.arguments import whole_number
from mobileinst_core.command import command
from mobileinst_core.files import write_json
from mobileinst_core.tracking.keyframes import VideoNetwork
from mobileinst_d2.engine import (
    ConfigError,
    setup_cfg,
)
from mobileinst_d2.engine.predictor import load_predictor
from mobileinst_d2.modeling import VideoSegmentor
from mobileinst_d2.tracking import StreamingPredictor, VideoPredictor, video_network
from mobileinst_d2.utils.evaluation_resizing import build_frame_preparation

MIB = 2**20
CLIP_LENGTHS = (1, 3, 6)
# Frames that are not counted.
LIVE_WARM_UP, PAIRS_WARM_UP = 50, 10

# Mean and approximate standard deviation of logits: masks cover about a sixth of the image.
_LOGIT_MEAN, _LOGIT_STD = -4.0, 4.0
_SPEED = (3, 5)  # of the image in a test video, in pixels per frame


class WholeVideoCost(NamedTuple):
    """What the prediction of a whole video took.

    Attributes:
        frames: length of the video.
        seconds: from the first frame to the encoded tracks, with the making of the frames.
        before: resident bytes with the model built and one frame predicted.
        peak: resident bytes at most.
        tracks: number of tracks in the result.
        masks: number of encoded masks in them.
        mask_bytes: size of all encoded masks.
    """

    frames: int
    seconds: float
    before: int
    peak: int
    tracks: int
    masks: int
    mask_bytes: int


class LiveCost(NamedTuple):
    """What live prediction took.

    Attributes:
        steps: number of frames, without those that warmed up.
        seconds: all of them, with the making of the frames.
        before: resident memory after warming up.
        after: resident memory after the last step.
        instances: instances per frame on average.
    """

    steps: int
    seconds: float
    before: ResidentMemory
    after: ResidentMemory
    instances: float


class FrameCost(NamedTuple):
    """Median seconds of a step of live prediction.

    Attributes:
        keyframe: on a key frame.
        reuse: on a frame that reuses kernels.
    """

    keyframe: float
    reuse: float

    def per_frame(self, clip_len: int) -> float:
        """Seconds per frame with a key frame every so many frames."""
        return (self.keyframe + (clip_len - 1) * self.reuse) / clip_len


def shape_masks(
    network: VideoNetwork, image: np.ndarray, *, objects: int | None = None
) -> VideoNetwork:
    """A network with random weights whose masks have shapes, at the same cost.

    Without training all queries say nearly the same, and their masks cover all or nothing. Here
    each query has a random kernel, of a length and with an offset that suit the mask features of
    one image.

    Args:
        network: has a mask product of kernels and mask features.
        image: (3, H, W) in [0, 255].
        objects: so many queries have a score of 0.9 and the others of 0; None = the network's
            scores.

    Returns:
        The network with other key frames.
    """
    outputs = network.keyframe([image])
    features = torch.as_tensor(outputs["mask_features"])[0].flatten(1).float().cpu()
    mean = features.mean(1)
    unit = mean / mean.dot(mean)  # gives the logits a mean of 1
    generator = torch.Generator().manual_seed(0)
    kernels = torch.randn(outputs["kernels"].shape[1:], generator=generator)
    kernels -= (kernels @ mean)[:, None] * unit
    deviation = (kernels @ features).std(1, keepdim=True)
    kernels = (_LOGIT_STD * kernels / deviation + _LOGIT_MEAN * unit).numpy()

    def keyframe(frames: Sequence[Any]) -> dict[str, Any]:
        outputs = dict(network.keyframe(frames))
        outputs["kernels"] = np.broadcast_to(kernels, outputs["kernels"].shape)
        if objects is not None:
            outputs["scores"] = np.zeros_like(outputs["scores"])
            outputs["scores"][:, :objects, 0] = 0.9
        return outputs

    return network._replace(keyframe=keyframe)


def moving_picture(size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Endless frames of an image that moves.

    Args:
        size: (H, W) in pixels.

    Yields:
        (H, W, 3), uint8.
    """
    height, width = size
    coarse = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for t in itertools.count():
        yield np.roll(picture, [t * speed for speed in _SPEED], axis=(0, 1))


def measure_whole_video(
    predictor: VideoPredictor, images: Iterable[np.ndarray], output_size: tuple[int, int]
) -> WholeVideoCost:
    """Predict a whole video; for its memory best in a process that does nothing else.

    Args:
        predictor: predicts it.
        images: (3, H, W), read as they are pulled; at least two, the first to warm up.
        output_size: (H, W) of the masks.

    Returns:
        The cost.
    """
    images = iter(images)
    predictor.predict([next(images)], output_size)
    before = resident_memory().now
    start = time.perf_counter()
    result = predictor.predict(images, output_size)
    seconds = time.perf_counter() - start
    rles = [rle for track in result["pred_rles"] for rle in track if rle is not None]
    return WholeVideoCost(
        frames=result["length"],
        seconds=seconds,
        before=before,
        peak=resident_memory().peak,
        tracks=len(result["pred_ids"]),
        masks=len(rles),
        mask_bytes=sum(len(rle["counts"]) for rle in rles),
    )


def measure_live(
    predictor: StreamingPredictor, frames: Iterable[np.ndarray], steps: int, warm_up: int
) -> LiveCost:
    """Track a stream; for its memory best in a process that does nothing else.

    Args:
        predictor: tracks it.
        frames: (H, W, 3), uint8, BGR, as many as needed.
        steps: how many to measure.
        warm_up: how many to track before.

    Returns:
        The cost.
    """
    frames = iter(frames)
    for frame in itertools.islice(frames, warm_up):
        predictor.step(frame)
    before = resident_memory()
    instances = 0
    start = time.perf_counter()
    for frame in itertools.islice(frames, steps):
        instances += len(predictor.step(frame))
    seconds = time.perf_counter() - start
    return LiveCost(steps, seconds, before, resident_memory(), instances / steps)


def measure_frames(
    predictor: StreamingPredictor, frames: Iterable[np.ndarray], warm_up: int
) -> tuple[FrameCost, FrameCost]:
    """Measure key frames and others in turn, so that both see the same machine.

    Args:
        predictor: tracks the frames, with T above 1.
        frames: (H, W, 3), uint8, BGR.
        warm_up: how many of them not to count, from the first.

    Returns:
        The cost of the whole step without reading, and that of the network in it.
    """
    total, network = {True: [], False: []}, {True: [], False: []}
    for number, frame in enumerate(frames):
        predictor.step(frame, force_keyframe=number % 2 == 0)
        if number >= warm_up:
            total[predictor.is_keyframe].append(sum(predictor.timings.values()))
            network[predictor.is_keyframe].append(predictor.timings["network"])
    return tuple(FrameCost(median(x[True]), median(x[False])) for x in (total, network))


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
        self.frames = moving_picture(size)
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
