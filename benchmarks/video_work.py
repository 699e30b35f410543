"""What is measured of video prediction: whole videos, live tracking, and kinds of frames."""

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from processes import ResidentMemory, resident_memory

from mobileinst_core.tracking.keyframes import VideoNetwork
from mobileinst_d2.tracking import StreamingPredictor, VideoPredictor

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


def shape_masks(network: VideoNetwork, image: np.ndarray) -> VideoNetwork:
    """A network with random weights whose masks have shapes, at the same cost.

    Without training all queries say nearly the same, and their masks cover all or nothing. Here
    each query has a random kernel, of a length and with an offset that suit the mask features of
    one image.

    Args:
        network: has a mask product of kernels and mask features.
        image: (3, H, W) in [0, 255].

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
        return outputs

    return network._replace(keyframe=keyframe)


def moving_image(size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Endless frames of an image that moves.

    Args:
        size: (H, W) in pixels.

    Yields:
        (H, W, 3), uint8.
    """
    height, width = size
    coarse = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for t in itertools.count():
        yield np.roll(image, [t * speed for speed in _SPEED], axis=(0, 1))


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
