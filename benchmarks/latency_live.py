"""Live tracking, post-processing and association, timed by stage."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from latency_work import Timing, time_call
from video_work import moving_image

from mobileinst_core.postprocessing import PostProcessing
from mobileinst_core.runtime.model import ExportedModel
from mobileinst_core.tracking.association import PreviousKeyframe
from mobileinst_core.tracking.keyframes import VideoNetwork
from mobileinst_core.video.readers import VideoReader

_QUERIES, _CLASSES, _KERNEL = 100, 80, 128
# Masks that are kept: all, as in the evaluation with COCO, and as many as a live view shows.
_KEPT = (100, 20)
_MASK_THRESHOLD = 0.45
# Of the mask logits of MobileInst.
_STRIDE, _UPSAMPLING = 8, 2
# Width and height of the objects of live tracking, as fractions of the image. Half of the boxes in
# DAVIS's videos are narrower than 0.31, and half lower than 0.45.
_OBJECT = (0.31, 0.45)
# Standard deviation of what else is in their logits.
_NOISE = 0.2
# Radii of the elliptic masks, as fractions of the image; they cover about a fifth of it.
_RADII = (0.1, 0.5)
_STEEPNESS = 6.0  # logit in their centres


class LiveStages(NamedTuple):
    """Mean CPU seconds per frame of live tracking, by stage.

    Attributes:
        prepare: from the camera's frame to the network's image.
        network: the exported graph.
        association: of key frames.
        masks: everything else: mask product, mask score, track manager, masks of the frame's size.
        instances: how many are shown, per frame.
    """

    prepare: float
    network: float
    association: float
    masks: float
    instances: float

    @property
    def total(self) -> float:
        """The whole step."""
        return self.prepare + self.network + self.association + self.masks

    @property
    def share_after_network(self) -> float:
        """Association and masks, as a fraction of the whole step."""
        return (self.association + self.masks) / self.total


@dataclass
class LiveRounds:
    """Live tracking with one exported folder and one distance of key frames, in rounds.

    Attributes:
        folder: the exported folder.
        clip_len: T, the distance of key frames.
        rounds: what was measured.
        failure: why there are no more rounds, or none; None = nothing failed.
    """

    folder: Path
    clip_len: int
    rounds: list[LiveStages] = field(default_factory=list)
    failure: str | None = None

    @property
    def stages(self) -> LiveStages | None:
        """Medians over the rounds; None after a failure."""
        if not self.rounds or self.failure is not None:
            return None
        return LiveStages(*map(median, zip(*self.rounds, strict=True)))


def time_stages(size: tuple[int, int], warm_ups: int, repeats: int) -> dict[str, Timing]:
    """Time post-processing and association with 100 queries.

    Args:
        size: (H, W) of the network's input and of the masks.
        warm_ups: number of calls before those that count.
        repeats: number of calls that count.

    Returns:
        Times by name.
    """
    logits = _elliptic_masks(size)
    postprocessing = PostProcessing(mask_threshold=_MASK_THRESHOLD, max_detections=_QUERIES)
    times = {}
    for kept in _KEPT:
        scores = np.zeros((_QUERIES, _CLASSES), np.float32)
        scores[:kept, 0] = np.linspace(0.9, 0.1, kept)
        call = partial(
            postprocessing.predict,
            scores,
            logits,
            image_size=size,
            output_size=size,
            mask_stride=_STRIDE,
            mask_upsampling=_UPSAMPLING,
        )
        times[f"post-processing, {kept} masks"] = time_call(call, warm_ups, repeats)
    times["tracking, association of a key frame"] = _time_association(warm_ups, repeats)
    return times


def _time_association(warm_ups: int, repeats: int) -> Timing:
    generator = np.random.default_rng(0)
    scores = generator.random((_QUERIES, _CLASSES), np.float32)
    kernels = generator.standard_normal((_QUERIES, _KERNEL), np.float32)
    # Queries keep no order from frame to frame, and look a little different.
    others = generator.permutation(kernels)
    others = others + generator.standard_normal(others.shape, np.float32)
    frames = cycle((kernels, others))
    tracker = PreviousKeyframe()
    return time_call(lambda: tracker.associate(next(frames), scores), warm_ups, repeats)


def measure_live_stages(
    folder: Path, clip_len: int, source: str | tuple[int, int], frames: int, warm_up: int
) -> LiveStages:
    """Track a stream with an exported pair of graphs.

    Args:
        folder: with the graphs ``keyframe`` and ``reuse``.
        clip_len: T, the distance of key frames.
        source: a video file or a folder of images, tracked as the folder's config says, again and
            again. Or (H, W) of generated frames, of which every one shows as many objects as
            ``TEST.STREAMING.MAX_INSTANCES`` allows.
        frames: how many to measure, a multiple of ``clip_len``.
        warm_up: how many to track before, likewise.

    Returns:
        What a frame takes.
    """
    model = ExportedModel.load(folder, opts=["TEST.TRACKING.CLIP_LEN", str(clip_len)])
    tracker = model.online_tracker()
    network = tracker.runner.network
    if isinstance(source, str):
        with VideoReader(source, end=frames + warm_up) as reader:
            source_frames = cycle(list(reader))
    else:
        source_frames = moving_image(source)
        image = tracker.prepare(next(source_frames))
        network = object_masks(network, image, objects=tracker.max_instances)
    keyframe, reuse = _Clocked(network.keyframe), _Clocked(network.reuse)
    tracker.runner.network = network._replace(keyframe=keyframe, reuse=reuse)
    tracker.prepare = prepare = _Clocked(tracker.prepare)
    tracker.runner.tracker.associate = association = _Clocked(tracker.runner.tracker.associate)
    step = _Clocked(tracker.step)
    for frame in islice(source_frames, warm_up):
        step(frame)
    clocks = (step, prepare, keyframe, reuse, association)
    before = [clock.seconds for clock in clocks]
    shown = sum(len(step(frame)) for frame in islice(source_frames, frames))
    seconds = [(x.seconds - start) / frames for x, start in zip(clocks, before, strict=True)]
    return LiveStages(
        prepare=seconds[1],
        network=seconds[2] + seconds[3],
        association=seconds[4],
        masks=seconds[0] - sum(seconds[1:]),
        instances=shown / frames,
    )


def object_masks(network: VideoNetwork, image: np.ndarray, *, objects: int) -> VideoNetwork:
    """A network with random weights that sees objects, at the same cost.

    Their masks are ellipses, whose logits are quadratic in x and y: five mask features are such
    functions, the others stay what they are. Every query has a random kernel, with the five
    numbers of its ellipse.

    Args:
        network: has a mask product of kernels and mask features.
        image: (3, H, W) in [0, 255].
        objects: so many queries have a score of 0.9, the others of 0.

    Returns:
        The network with other key frames.
    """
    outputs = network.keyframe([image])
    features = np.asarray(outputs["mask_features"])[0]
    rows, columns = np.indices(features.shape[1:]) + 0.5
    y, x = rows / features.shape[1], columns / features.shape[2]
    functions = np.stack([np.ones_like(x), x, x * x, y, y * y])
    generator = np.random.default_rng(0)
    kernels = generator.standard_normal(outputs["kernels"].shape[1:], np.float32)
    radii = np.array(_OBJECT) / 2
    centres = generator.uniform(radii, 1 - radii, (len(kernels), 2))
    ellipses = np.empty((len(kernels), len(functions)))
    ellipses[:, 0] = 1 - ((centres / radii) ** 2).sum(1)
    ellipses[:, 1::2], ellipses[:, 2::2] = 2 * centres / radii**2, -1 / radii**2
    # The random part of a kernel has little to say about its mask, and most about its direction.
    size = len(functions)
    kernels *= _NOISE / np.tensordot(kernels[:, size:], features[size:], 1).std()
    scale = _STEEPNESS * np.abs(ellipses).max(0) / kernels.std()
    kernels[:, :size] = _STEEPNESS * ellipses / scale
    functions = (functions * scale[:, None, None]).astype(np.float32)

    def keyframe(frames: Sequence[Any]) -> dict[str, Any]:
        outputs = dict(network.keyframe(frames))
        outputs["kernels"] = np.broadcast_to(kernels, outputs["kernels"].shape)
        outputs["mask_features"][:, :size] = functions
        outputs["scores"] = np.zeros_like(outputs["scores"])
        outputs["scores"][:, :objects, 0] = 0.9
        return outputs

    def reuse(frames: Sequence[Any]) -> Sequence[Any]:
        features = network.reuse(frames)
        features[:, :size] = functions
        return features

    return network._replace(keyframe=keyframe, reuse=reuse)


class _Clocked:
    """A function that adds up the CPU time of its calls."""

    def __init__(self, function: Callable) -> None:
        self.function = function
        self.seconds = 0.0

    def __call__(self, *args: object, **kwargs: object) -> object:
        start = time.process_time()
        try:
            return self.function(*args, **kwargs)
        finally:
            self.seconds += time.process_time() - start


def _elliptic_masks(size: tuple[int, int]) -> np.ndarray:
    """Mask logits."""
    generator = np.random.default_rng(0)
    centre, radius = generator.random((2, 2, _QUERIES, 1), np.float32)
    low, high = _RADII
    radius = low + (high - low) * radius
    squares = []
    for axis, side in enumerate(size):
        position = (np.arange(side // _STRIDE, dtype=np.float32) + 0.5) * _STRIDE / side
        squares.append(((position - centre[axis]) / radius[axis]) ** 2)  # queries, side
    return _STEEPNESS * (1 - squares[0][:, :, None] - squares[1][:, None, :])
