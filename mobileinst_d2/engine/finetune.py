"""A training plan for small data of one's own: what the data say about the config."""

import math
import os
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from detectron2.config import CfgNode

from mobileinst_core.errors import ConfigError
from mobileinst_d2.utils.config_keys import flatten

from .evaluators import evaluated_tasks

__all__ = ["DataSummary", "Plan", "plan_training", "summarize_data"]

# Passes over the annotated frames. The bounds in iterations keep two images from being looked at
# for seconds only, and 500 long videos from taking weeks.
EPOCHS = 30
MIN_ITERATIONS = 300
MAX_ITERATIONS = 20_000
# Clips of two frames, or images, of each process.
CPU_BATCH = {True: 2, False: 4}
GPU_BATCH = {True: 8, False: 16}
# Learning rates of a head that starts at random, and of a whole trained model, at four frames per
# iteration. Adam's steps do not depend on the scale of the gradient but on its noise, so the rate
# grows with the root of the batch.
HEAD_LR = 5e-4
MODEL_LR = 1e-4
REFERENCE_FRAMES = 4
MAX_LR = 1e-3
# Three of four objects are to have this side in pixels, six cells of the mask features.
OBJECT_PIXELS = 48
MIN_SIDE, MAX_SIDE, SIDE_STEP = 256, 640, 32
# One cell of the mask features: an object below it has no mask to speak of.
TINY_PIXELS = 8
# Below so many images or videos a backbone with weights is frozen up to stride 16 (2**4): as good
# or better on 26 videos, at about half the time of a step.
FEW_RECORDS = {True: 100, False: 1000}
FROZEN = 4
# The range of an object's size in training, relative to the one in evaluation. Crops enlarge
# objects, so training frames are smaller by their mean share (docs/learning.md has what it brings).
SCALE_RANGE = (0.7, 1.0)
EVALUATIONS = 10
PATIENCE = 5


class DataSummary(NamedTuple):
    """What a plan needs to know about a training set.

    Attributes:
        is_video: whether the records are videos.
        num_records: videos or images with an object.
        num_frames: annotated frames, or images with an object.
        objects_per_class: tracks, or instances, by class name; 0 for classes without any.
        relative_sizes: (M,) root of the area of every box over the short side of its frame.
        frame_size: median (height, width) of the frames in pixels.
    """

    is_video: bool
    num_records: int
    num_frames: int
    objects_per_class: dict[str, int]
    relative_sizes: np.ndarray
    frame_size: tuple[int, int]


class Plan(NamedTuple):
    """Config keys with their values, and a sentence for each decision and each warning."""

    overrides: dict[str, Any]
    reasons: list[str]
    warnings: list[str]


def summarize_data(records: Sequence[dict], class_names: Sequence[str]) -> DataSummary:
    """Count and measure the objects of a training set; crowds do not count.

    Args:
        records: videos as `load_ytvis_json` gives them, or images in Detectron2's format.
        class_names: names by contiguous class index.

    Returns:
        The summary.

    Raises:
        ConfigError: if nothing in the data can be trained on.
    """
    is_video = bool(records) and "tracks" in records[0]
    counts, sizes, frame_sizes = Counter(), [], []
    num_records = num_frames = 0
    for record in records:
        objects = record["tracks"] if is_video else record.get("annotations")
        objects = [x for x in objects or () if not x.get("iscrowd", 0)]
        boxes = [_boxes(x, is_video) for x in objects]
        frames = {frame for found in boxes for frame, _ in found}
        if not frames:
            continue
        counts.update(x["category_id"] for x, found in zip(objects, boxes, strict=True) if found)
        num_records += 1
        num_frames += len(frames)
        side = min(record["height"], record["width"])
        sizes += [math.sqrt(area) / side for found in boxes for _, area in found]
        frame_sizes.append((record["height"], record["width"]))
    if not num_records:
        raise ConfigError(
            "the training set has no object: check that its annotations have masks, and ids of "
            "its videos or images"
        )
    height, width = np.median(np.array(frame_sizes), axis=0).astype(int).tolist()
    return DataSummary(
        is_video=is_video,
        num_records=num_records,
        num_frames=num_frames,
        objects_per_class={name: counts[label] for label, name in enumerate(class_names)},
        relative_sizes=np.array(sizes),
        frame_size=(height, width),
    )


def _boxes(item: dict, is_video: bool) -> list[tuple[int, float]]:
    """(frame, area in pixels) of every visible box of a track, or of an instance."""
    boxes = item["bboxes"] if is_video else [item["bbox"]]
    return [
        (frame, float(box[2] * box[3]))
        for frame, box in enumerate(boxes)
        if box is not None and box[2] > 0 and box[3] > 0
    ]


def plan_training(
    cfg: CfgNode, data: DataSummary, *, chosen: Collection[str] = (), num_processes: int = 1
) -> Plan:
    """Decide what depends on the data: classes, sizes, batch, learning rate and schedule.

    Args:
        cfg: the config that the plan goes on top of.
        data: the training set.
        chosen: keys that the user has set, which stay as they are and which the rest follows.
        num_processes: processes of the training.

    Returns:
        The plan.
    """
    plan = Plan({}, [], [])

    def decide(key: str, value: Any, reason: str) -> Any:
        """The value of a key that is not chosen; of one that is, the user's."""
        if key in chosen:
            given = flatten(cfg)[key]
            plan.reasons.append(f"{key} {given}: as given")
            return given
        plan.overrides[key] = value
        plan.reasons.append(f"{key} {value}: {reason}")
        return value

    _plan_classes(decide, data, plan)
    _plan_weights(cfg, plan)
    _plan_backbone(decide, cfg, data)
    _plan_sizes(decide, cfg, data, plan)
    _plan_schedule(decide, cfg, data, num_processes, "SOLVER.EPOCHS" in chosen)
    workers = min(4, max(1, (os.cpu_count() or 1) // 2))
    decide("DATALOADER.NUM_WORKERS", workers, "half of the cores of this machine, 4 at most")
    return plan


def _plan_classes(decide: Any, data: DataSummary, plan: Plan) -> None:
    names = ", ".join(f"{name} {n}" for name, n in data.objects_per_class.items() if n)
    kind = "tracks" if data.is_video else "instances"
    decide(
        "MODEL.NUM_CLASSES", len(data.objects_per_class), f"classes of the file; {kind}: {names}"
    )
    empty = [name for name, count in data.objects_per_class.items() if not count]
    if empty:
        plan.warnings.append(
            f"no object in the training set has the class {', '.join(empty)}: it cannot be learned "
            "and its AP is undefined or 0. Take it out of 'categories' if it is not wanted."
        )


def _plan_weights(cfg: CfgNode, plan: Plan) -> None:
    """Say what the training starts from; what starts at random is named when weights are loaded."""
    key = "MODEL.WEIGHTS" if cfg.MODEL.WEIGHTS else "MODEL.BACKBONE.WEIGHTS"
    weights = cfg.MODEL.WEIGHTS or cfg.MODEL.BACKBONE.WEIGHTS
    if weights == "timm":
        what = "public weights, from timm's cache or a download; a file may be named instead"
    elif weights:
        what = "the training starts from them"
    else:
        key, weights, what = "MODEL.WEIGHTS", "''", "no weights, everything starts at random"
    plan.reasons.append(f"{key} {weights}: {what}")


def _plan_backbone(decide: Any, cfg: CfgNode, data: DataSummary) -> None:
    few = FEW_RECORDS[data.is_video]
    if data.num_records < few and (cfg.MODEL.BACKBONE.WEIGHTS or cfg.MODEL.WEIGHTS):
        kind = "videos" if data.is_video else "images"
        decide(
            "MODEL.BACKBONE.FREEZE_AT",
            FROZEN,
            f"the layers up to stride {2**FROZEN} keep their weights, as {data.num_records} {kind} "
            f"are fewer than {few}",
        )


def _plan_sizes(decide: Any, cfg: CfgNode, data: DataSummary, plan: Plan) -> None:
    if cfg.INPUT.MIN_SIZE_TEST == 0:
        # What YOLACT is to stretch would be made small first.
        plan.reasons.append("INPUT.MIN_SIZE_TEST 0: the network is given images of their own size")
        return
    height, width = data.frame_size
    quarter = float(np.quantile(data.relative_sizes, 0.25))
    largest = min(MAX_SIDE, max(MIN_SIDE, _round_up(min(height, width))))
    side = min(max(_round_up(OBJECT_PIXELS / quarter), MIN_SIDE), largest)
    side = decide(
        "INPUT.MIN_SIZE_TEST",
        side,
        f"{OBJECT_PIXELS} pixels or more are wanted for three of four objects, which have "
        f"{quarter:.0%} of the short side of a frame ({height}x{width}) or more; not below "
        f"{MIN_SIDE}, nor above the frames or {MAX_SIDE}",
    )
    ratio = max(height, width) / min(height, width)
    decide("INPUT.MAX_SIZE_TEST", _round_up(side * ratio), "the shape of the frames")
    crop = cfg.INPUT.CROP
    share = 1.0
    if crop.ENABLED and crop.TYPE == "relative_range":
        share = (1 + min(crop.SIZE)) / 2
    train_sides = decide(
        "INPUT.MIN_SIZE_TRAIN",
        tuple(round(factor * share * side) for factor in SCALE_RANGE),
        f"objects of {SCALE_RANGE[0]:g} to {SCALE_RANGE[1]:g} of their size in evaluation, as "
        f"crops show {share:g} of a side on average",
    )
    longest = _round_up(max(train_sides, default=side) * ratio)
    decide("INPUT.MAX_SIZE_TRAIN", longest, "the shape of the frames")
    tiny = float(np.mean(data.relative_sizes * side < TINY_PIXELS))
    if tiny > 0.1:
        plan.warnings.append(
            f"{tiny:.0%} of the objects have fewer than {TINY_PIXELS} pixels at a short side of "
            f"{side}, less than one cell of the mask features: they will hardly be found. Raise "
            "INPUT.MIN_SIZE_TEST and MAX_SIZE_TEST, or cut the frames into parts."
        )


def _plan_schedule(
    decide: Any, cfg: CfgNode, data: DataSummary, num_processes: int, in_epochs: bool
) -> None:
    on_gpu = cfg.MODEL.DEVICE.startswith("cuda")
    frames_per_sample = cfg.INPUT.SAMPLING_FRAME_NUM if data.is_video else 1
    each = (GPU_BATCH if on_gpu else CPU_BATCH)[data.is_video]
    batch = decide(
        "SOLVER.IMS_PER_BATCH",
        each * num_processes,
        f"{each} {'clips' if data.is_video else 'images'} for each of {num_processes} "
        f"{'GPUs' if on_gpu else 'CPU processes'}",
    )
    frames = batch * frames_per_sample
    reference = MODEL_LR if cfg.MODEL.WEIGHTS else HEAD_LR
    rate = min(reference * math.sqrt(frames / REFERENCE_FRAMES), MAX_LR)
    start = "a whole trained model" if cfg.MODEL.WEIGHTS else "a head that starts at random"
    decide(
        "SOLVER.BASE_LR",
        float(f"{rate:.2g}"),
        f"{reference:g} for {start}, times the root of {frames} frames per iteration over "
        f"{REFERENCE_FRAMES}, {MAX_LR:g} at most",
    )
    iterations = round(EPOCHS * data.num_frames / frames)
    if in_epochs:
        iterations = round(cfg.SOLVER.EPOCHS * data.num_frames / frames)
    else:
        iterations = min(max(iterations, MIN_ITERATIONS), MAX_ITERATIONS)
        iterations = decide(
            "SOLVER.MAX_ITER",
            iterations,
            f"{iterations * frames / data.num_frames:.1f} passes over {data.num_frames} annotated "
            f"frames ({EPOCHS} wanted, {MIN_ITERATIONS} to {MAX_ITERATIONS} iterations)",
        )
    if any(step > iterations for step in cfg.SOLVER.STEPS):
        reason = f"the steps of the config, {tuple(cfg.SOLVER.STEPS)}, are of a longer training"
        decide("SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", reason)
        decide("SOLVER.STEPS", (), "a cosine has none")
    warm_up = min(max(iterations // 20, 10), 1000)
    decide("SOLVER.WARMUP_ITERS", warm_up, "a twentieth of them, but 10 to 1000")
    period = max(1, iterations // EVALUATIONS)
    evaluations = decide("TEST.EVAL_PERIOD", period, f"{EVALUATIONS} evaluations")
    period = evaluations or period
    decide("SOLVER.CHECKPOINT_PERIOD", period, "as often as evaluations")
    decide("VIS_PERIOD", period, "images of training samples in TensorBoard, as often")
    if not cfg.DATASETS.TEST or not evaluations:
        return
    metric = cfg.TEST.BEST_METRIC or decide(
        "TEST.BEST_METRIC", f"{evaluated_tasks(cfg)[-1]}/AP", "its best weights are kept"
    )
    if metric:
        reason = f"evaluations without a better {metric}, then the training ends"
        decide("TEST.EARLY_STOPPING", PATIENCE, reason)


def _round_up(side: float) -> int:
    """To the next multiple of a step that suits the network."""
    return SIDE_STEP * math.ceil(side / SIDE_STEP)
