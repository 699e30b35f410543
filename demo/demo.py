#!/usr/bin/env python
"""Show what a trained model sees: on images, on videos and through a camera.

Images are predicted one by one. Videos and cameras are tracked: every object keeps its number
and its colour, and memory does not grow with the length.
"""

import argparse
import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence

# First, as it tells how to get Detectron2 where that is missing.
import mobileinst_d2  # noqa: F401

# isort: split
import numpy as np
from detectron2.config import CfgNode
from detectron2.engine import DefaultPredictor
from detectron2.structures import Instances
from detectron2.utils.logger import setup_logger
from tqdm import tqdm

from mobileinst_d2.engine.checkpoint import CheckpointError, TrainingCheckpointer
from mobileinst_d2.engine.setup import ConfigError, setup_cfg, without_backbone_weights
from mobileinst_d2.tracking import StreamingPredictor
from mobileinst_d2.utils.classes import class_names
from mobileinst_d2.utils.display import Window
from mobileinst_d2.utils.file_args import expand_inputs, image_targets, video_target
from mobileinst_d2.utils.image_io import VideoIOError, read_frame, write_image
from mobileinst_d2.utils.video_io import VideoReader, VideoWriter
from mobileinst_d2.utils.visualizer import TrackVisualizer

TITLE = "MobileInst"
INTERRUPTED = 130  # the exit status that shells give to Ctrl-C

logger = logging.getLogger("mobileinst_d2.demo")


class DemoError(RuntimeError):
    """The demo cannot go on; the message tells the user why and what to do."""


def get_parser() -> argparse.ArgumentParser:
    """The command line, with the names that Detectron2's demo has."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config-file", required=True, metavar="FILE", help="the model's yaml")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--input", nargs="+", metavar="IMAGE", help="image files, a folder of images or a glob"
    )
    source.add_argument(
        "--video-input", metavar="FILE", help="video file, folder of frames or stream address"
    )
    source.add_argument(
        "--webcam",
        nargs="?",
        const=0,
        type=camera_index,
        metavar="INDEX",
        help="camera, by default 0",
    )
    parser.add_argument(
        "--output", metavar="PATH", help="file or folder to write; without it a window opens"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    parser.add_argument(
        "--confidence-threshold",
        type=probability,
        default=0.4,
        metavar="SCORE",
        help="score from which objects are shown, default 0.4; in videos an object appears at this "
        "score and stays until it falls clearly below (TEST.STREAMING)",
    )
    parser.add_argument("--fps", type=positive_number, help="frame rate of the output video")
    parser.add_argument("--codec", help="FourCC of the output video, by default mp4v for .mp4")
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="config overrides, at the end: --opts MODEL.WEIGHTS model_final.pth",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo.

    Args:
        argv: arguments after the program's name; by default those of the process.

    Returns:
        The exit status: 0, or 1 after an error that stands on stderr, or 130 after Ctrl-C.
    """
    parser = get_parser()
    args = parser.parse_args(argv)
    if args.input and (args.fps or args.codec):
        parser.error("--fps and --codec are for videos, not for --input")
    setup_logger(name="mobileinst_d2")
    try:
        cfg = setup_cfg(args.config_file, args.opts)
        run = run_images if args.input else run_video
        run(args, cfg)
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return INTERRUPTED
    except (CheckpointError, ConfigError, DemoError, VideoIOError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def run_images(args: argparse.Namespace, cfg: CfgNode) -> None:
    """Predict images one by one and write or show them.

    Args:
        args: the command line, with ``input``.
        cfg: the model's config.

    Raises:
        DemoError: inputs are missing or unreadable, or the output does not suit them.
        VideoIOError: an output cannot be written.
    """
    paths = expand_inputs(args.input)
    targets = image_targets(paths, args.output, overwrite=args.overwrite) if args.output else None
    failures = []
    with contextlib.ExitStack() as stack:
        # First of all: where there is no display, that is known at once.
        window = None if targets else stack.enter_context(Window(TITLE))
        predict = build_image_predictor(cfg)
        visualizer = TrackVisualizer(names_of(cfg))
        for index, path in enumerate(tqdm(paths, unit="image", disable=len(paths) == 1)):
            try:
                frame = read_frame(path)
            except VideoIOError as error:
                logger.error("%s", error)
                failures.append(str(error))
                continue
            instances = predict(frame)
            instances = instances[instances.scores >= args.confidence_threshold]
            drawn = visualizer.draw(frame, instances)
            if targets:
                write_image(targets[index], drawn, overwrite=args.overwrite)
                logger.info("%s: %d instances, see %s.", path, len(instances), targets[index])
            elif not window.show(drawn, wait_for_key=True):
                break
    if failures:
        raise DemoError(f"{len(failures)} of {len(paths)} images were left out: {failures[0]}")


def run_video(args: argparse.Namespace, cfg: CfgNode) -> None:
    """Track the objects of a video or camera and write or show it.

    Args:
        args: the command line, with ``video_input`` or ``webcam``.
        cfg: the model's config.

    Raises:
        DemoError: the model cannot track, or the output is the input.
        VideoIOError: the source cannot be read or the output not be written.
    """
    source = args.video_input if args.webcam is None else args.webcam
    with VideoReader(source, fps=args.fps) as reader:
        if args.output is None:
            with Window(TITLE) as window:
                for drawn in tracked_frames(reader, cfg, args.confidence_threshold):
                    if not window.show(drawn):
                        break
            return
        target = video_target(source, reader.name, args.output)
        frames = tracked_frames(reader, cfg, args.confidence_threshold)
        with VideoWriter(
            target,
            fps=reader.fps,
            size=(reader.width, reader.height),
            codec=args.codec,
            overwrite=args.overwrite,
        ) as writer:
            try:
                for drawn in frames:
                    writer.write(drawn)
            except KeyboardInterrupt:
                logger.warning("%s holds the first %d frames.", target, writer.num_frames)
                raise
    logger.info("%s: %d frames written.", target, writer.num_frames)


def tracked_frames(reader: VideoReader, cfg: CfgNode, threshold: float) -> Iterator[np.ndarray]:
    """Draw the tracked objects on each frame of a reader, under a progress bar.

    Args:
        reader: the source.
        cfg: the model's config.
        threshold: score at which a track appears.

    Returns:
        An iterator over (H, W, 3) uint8 BGR frames. The model is built before it is returned.
    """
    predictor = build_video_predictor(cfg, threshold)
    visualizer = TrackVisualizer(names_of(cfg))

    def draw_all() -> Iterator[np.ndarray]:
        for frame in tqdm(reader, total=reader.num_frames, unit="frame"):
            yield visualizer.draw(frame, predictor.step(frame))

    return draw_all()


def load_predictor(cfg: CfgNode) -> DefaultPredictor:
    """Build the model and load ``MODEL.WEIGHTS``.

    Args:
        cfg: the model's config.

    Returns:
        Detectron2's predictor of single images, which resizes as in evaluation.

    Raises:
        DemoError: the config describes no model that can be built, or the weights are missing.
        CheckpointError: the weights are damaged or belong to another model.
    """
    if not cfg.MODEL.WEIGHTS:
        logger.warning(
            "MODEL.WEIGHTS is empty: the model is RANDOM and so is what it shows. "
            "Give trained weights with --opts MODEL.WEIGHTS model_final.pth."
        )
    try:
        # The weights are loaded below, with errors that say more.
        without_weights = _replaced(without_backbone_weights(cfg), ["MODEL.WEIGHTS", ""])
        predictor = DefaultPredictor(without_weights)
    except (KeyError, OSError, ValueError) as error:
        raise DemoError(f"the model cannot be built: {error}") from error
    try:
        if cfg.MODEL.WEIGHTS:
            TrainingCheckpointer(predictor.model).load(cfg.MODEL.WEIGHTS)
    except OSError as error:
        raise DemoError(f"cannot load the weights: {error}") from error
    return predictor


def build_image_predictor(cfg: CfgNode) -> Callable[[np.ndarray], Instances]:
    """A function from one (H, W, 3) uint8 BGR picture to its instances, on the CPU."""
    predictor = load_predictor(cfg)
    return lambda frame: predictor(frame)["instances"].to("cpu")


def build_video_predictor(cfg: CfgNode, threshold: float) -> StreamingPredictor:
    """A tracker of live frames, see `StreamingPredictor`, whose tracks appear at a threshold."""
    model = load_predictor(cfg).model
    if not hasattr(model, "keyframe"):
        raise DemoError(
            f"{cfg.MODEL.META_ARCHITECTURE} predicts single images and cannot track; "
            "use --input with images."
        )
    streaming = cfg.TEST.STREAMING
    # The distance between appearing and vanishing keeps tracks from flickering.
    share = streaming.SCORE_OFF / streaming.SCORE_ON if streaming.SCORE_ON > 0 else 1.0
    thresholds = ["TEST.STREAMING.SCORE_ON", threshold]
    thresholds += ["TEST.STREAMING.SCORE_OFF", threshold * share]
    try:
        return StreamingPredictor(_replaced(cfg, thresholds), model)
    except ValueError as error:
        raise DemoError(str(error)) from error


def _replaced(cfg: CfgNode, opts: list) -> CfgNode:
    """A copy of a config with other values, given as KEY, VALUE, KEY, VALUE, ..."""
    cfg = cfg.clone()
    cfg.merge_from_list(opts)
    return cfg


def names_of(cfg: CfgNode) -> list[str]:
    """Class names, see `class_names`, with errors for the user of the demo."""
    try:
        return class_names(cfg)
    except ValueError as error:
        raise DemoError(str(error)) from error


def probability(text: str) -> float:
    """An argument in [0, 1]."""
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is outside [0, 1]")
    return value


def positive_number(text: str) -> float:
    """An argument above 0."""
    value = float(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value


def camera_index(text: str) -> int:
    """An argument that is a whole number from 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("cameras are counted from 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
