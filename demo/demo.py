#!/usr/bin/env python
"""Show what a trained model sees: on images, on videos and through a camera.

Images are predicted one by one. Videos and cameras are tracked: every object keeps its number
and its colour, and memory does not grow with the length.
"""

import argparse
import contextlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

# First, as it tells how to get Detectron2 where that is missing.
import mobileinst_d2  # noqa: F401

# isort: split
from detectron2.config import CfgNode
from detectron2.utils.logger import setup_logger
from tqdm import tqdm

from mobileinst_core.arguments import positive_number, probability, whole_number
from mobileinst_core.tracking.offline import VideoTracks
from mobileinst_core.video import file_args
from mobileinst_core.video.drawing import TrackVisualizer
from mobileinst_core.video.images import VideoIOError, prepare_output, read_image, write_image
from mobileinst_core.video.outputs import TrackOutputs
from mobileinst_core.video.readers import VideoReader
from mobileinst_core.video.stage_timer import StageTimer
from mobileinst_core.video.window import Window
from mobileinst_core.video.writers import IdMapWriter, VideoWriter
from mobileinst_core.ytvis.results_file import VideoResultsFile
from mobileinst_d2.checkpoint import CheckpointError
from mobileinst_d2.engine.exported import add_exported_arguments, setup_cfg_of_model
from mobileinst_d2.engine.predictor import load_predictor
from mobileinst_d2.engine.setup import ConfigError
from mobileinst_d2.export import ExportedModel, ExportError
from mobileinst_d2.modeling import VideoSegmentor
from mobileinst_d2.structures import to_detections
from mobileinst_d2.tracking import StreamingPredictor, VideoPredictor

TITLE = "MobileInst"
INTERRUPTED = 130  # the exit status that shells give to Ctrl-C

logger = logging.getLogger("mobileinst_d2.demo")


class DemoError(RuntimeError):
    """The demo cannot go on; the message tells the user why and what to do."""


def get_parser() -> argparse.ArgumentParser:
    """The command line, with the names that Detectron2's demo has."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--config-file", default="", metavar="FILE", help="the model's yaml")
    add_exported_arguments(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--input", nargs="+", metavar="IMAGE", help="image files, a folder of images or a glob"
    )
    source.add_argument(
        "--video-input",
        nargs="+",
        metavar="FILE",
        help="video file, folder of frames, stream address; or images or a glob: frames of one "
        "video in natural order",
    )
    source.add_argument(
        "--webcam",
        nargs="?",
        const=0,
        type=whole_number(0),
        metavar="INDEX",
        help="camera, by default 0",
    )
    add("--output", metavar="PATH", help="file or folder to write; without it a window opens")
    add("--overwrite", action="store_true", help="replace existing files")
    add(
        "--confidence-threshold",
        type=probability,
        default=0.4,
        metavar="SCORE",
        help="score from which objects are shown, default 0.4; in videos an object appears at this "
        "score and stays until it falls clearly below (TEST.STREAMING)",
    )
    add_video_arguments(parser.add_argument_group("for videos and cameras"))
    add(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="config overrides, at the end: --opts MODEL.WEIGHTS model_final.pth",
    )
    return parser


# Those that `add_video_arguments` adds; they make no sense for single images.
VIDEO_OPTIONS = ("clip_len", "start", "end", "stride", "save_json", "video_id", "save_masks")
VIDEO_OPTIONS += ("show", "mark_keyframes", "timings", "fps", "codec")


def add_video_arguments(group: argparse._ArgumentGroup) -> None:
    """The options `VIDEO_OPTIONS`."""
    add, count = group.add_argument, whole_number(1)
    add("--clip-len", type=count, metavar="T", help="distance of key frames")
    add("--start", type=whole_number(0), metavar="N", help="first frame, counted from 0")
    add("--end", type=count, metavar="N", help="stop before this frame")
    add("--stride", type=count, metavar="N", help="take every N-th frame")
    add(
        "--save-json",
        type=Path,
        metavar="FILE",
        help="write the tracks in the YouTube-VIS results format, chosen as in evaluation: by "
        "scores over the whole video, whatever the threshold for showing",
    )
    add("--video-id", type=whole_number(0), metavar="ID", help="in that file, by default 1")
    add(
        "--save-masks",
        type=Path,
        metavar="DIR",
        help="write a 16-bit PNG per frame with the object's number in each pixel, 0 = none; the "
        "highest score is on top",
    )
    add("--show", action="store_true", help="open a window even if files are written")
    add("--mark-keyframes", action="store_true", help="write on key frames that they are")
    add("--timings", action="store_true", help="print how long each stage takes, and frame rates")
    add("--fps", type=positive_number, help="frame rate of the output video")
    add("--codec", help="FourCC of the output video, by default mp4v for .mp4")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo.

    Args:
        argv: arguments after the program's name; by default those of the process.

    Returns:
        The exit status: 0, or 1 after an error that stands on stderr, or 130 after Ctrl-C.
    """
    parser = get_parser()
    args = parser.parse_args(argv)
    for name in VIDEO_OPTIONS:
        value = getattr(args, name)
        if args.input and value is not None and value is not False:
            parser.error(f"--{name.replace('_', '-')} is for videos, not for --input")
    if args.end is not None and args.end <= (args.start or 0):
        parser.error("--end must be above --start")
    if args.video_id is not None and not args.save_json:
        parser.error("--video-id is for --save-json")
    setup_logger(name="mobileinst_d2")
    try:
        if args.clip_len:
            args.opts = [*args.opts, "TEST.TRACKING.CLIP_LEN", str(args.clip_len)]
        cfg = setup_cfg_of_model(args)
        run = run_images if args.input else run_video
        run(args, cfg)
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return INTERRUPTED
    except (CheckpointError, ConfigError, DemoError, ExportError, VideoIOError) as error:
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
    paths = file_args.expand_inputs(args.input)
    targets = None
    if args.output:
        targets = file_args.image_targets(paths, args.output, overwrite=args.overwrite)
    failures = []
    with contextlib.ExitStack() as stack:
        # First of all: where there is no display, that is known at once.
        window = None if targets else stack.enter_context(Window(TITLE))
        predictor = load_predictor(cfg, args.model, args.runtime)
        visualizer = TrackVisualizer(predictor.class_names())
        for index, path in enumerate(tqdm(paths, unit="image", disable=len(paths) == 1)):
            try:
                frame = read_image(path)
            except VideoIOError as error:
                logger.error("%s", error)
                failures.append(str(error))
                continue
            detections = to_detections(predictor(frame)["instances"])
            detections = detections[detections.scores >= args.confidence_threshold]
            drawn = visualizer.draw_instance_predictions(frame, detections)
            if targets:
                write_image(targets[index], drawn, overwrite=args.overwrite)
                logger.info("%s: %d instances, see %s.", path, len(detections), targets[index])
            elif not window.show(drawn, wait_for_key=True):
                break
    if failures:
        raise DemoError(f"{len(failures)} of {len(paths)} images were left out: {failures[0]}")


def run_video(args: argparse.Namespace, cfg: CfgNode) -> None:
    """Track the objects of a video or camera and write or show them.

    Args:
        args: the command line, with ``video_input`` or ``webcam``.
        cfg: the model's config.

    Raises:
        DemoError: the model cannot track, or frames were passed over.
        VideoIOError: the source cannot be read or an output not be written.
    """
    source = file_args.video_source(args.video_input) if args.video_input else args.webcam
    selection = {"start": args.start or 0, "end": args.end, "stride": args.stride or 1}
    timer = StageTimer()
    with VideoReader(source, fps=args.fps, **selection) as reader, contextlib.ExitStack() as stack:
        target = file_args.video_target(reader.name, args.output) if args.output else None
        check_outputs(args, source, target, live=reader.live)
        outputs = TrackOutputs(mark_keyframes=args.mark_keyframes)
        if args.show or not (target or args.save_json or args.save_masks):
            # Where there is no display, that is known before the model is built.
            outputs.window = stack.enter_context(Window(TITLE))
        if args.save_masks:
            outputs.maps = IdMapWriter(args.save_masks, overwrite=args.overwrite)
        loaded = load_predictor(cfg, args.model, args.runtime)
        predictor, tracks = build_video_predictor(cfg, loaded.model, args.confidence_threshold)
        if target or outputs.window:
            outputs.visualizer = TrackVisualizer(loaded.class_names())
        size = (reader.width, reader.height)
        if args.save_json:
            video_id = 1 if args.video_id is None else args.video_id
            ids = loaded.category_ids()
            results = VideoResultsFile(args.save_json, tracks, video_id, ids, size[::-1])
            outputs.results = stack.enter_context(results)
        if target:
            outputs.video = VideoWriter(
                target, fps=reader.fps, size=size, codec=args.codec, overwrite=args.overwrite
            )
            stack.enter_context(outputs.video)
        try:
            track(reader, predictor, outputs, timer)
        finally:
            if outputs.video:
                logger.info("%s: %d frames.", target, outputs.video.num_frames)
            if reader.live:
                logger.info(
                    "%d of %d frames were dropped, as the model was busy.",
                    reader.num_dropped,
                    reader.position,
                )
            if args.timings:
                print(timer.table())
    if reader.num_damaged:
        raise DemoError(
            f"{reader.num_damaged} of {reader.position} frames could not be decoded, see the "
            "warnings. The others are done; a video repeats the frame before each."
        )


def check_outputs(
    args: argparse.Namespace, source: str | int | Sequence[Path], target: Path | None, *, live: bool
) -> None:
    """See that everything can be written, before the time for the model is spent.

    Args:
        args: the command line.
        source: what is read.
        target: the video to write.
        live: the source has no end.

    Raises:
        VideoIOError: an output cannot be written, or replaces the input or another output.
        DemoError: the results file cannot be made of this source, or has another suffix.
    """
    targets = {"--output": target, "--save-json": args.save_json, "--save-masks": args.save_masks}
    file_args.check_targets(source, targets)
    if args.save_json and args.save_json.suffix.lower() != ".json":
        raise DemoError(f"--save-json {args.save_json}: the name must end with .json.")
    if args.save_json and live and args.end is None:
        raise DemoError(
            "--save-json keeps something of every frame until the last one, so a camera or stream "
            "needs an --end."
        )
    for path in (target, args.save_json):
        if path:
            prepare_output(path, overwrite=args.overwrite)


def track(
    reader: VideoReader, predictor: StreamingPredictor, outputs: TrackOutputs, timer: StageTimer
) -> None:
    """Track all frames of a reader, under a progress bar, until the end or the user's wish.

    Args:
        reader: the source.
        predictor: a tracker that has seen nothing.
        outputs: where everything goes.
        timer: measures.
    """
    with tqdm(total=reader.num_frames, unit="frame") as bar:
        for frame in timer.frames(reader):
            detections = to_detections(predictor.step(frame))
            timer.add(predictor.timings)
            if not outputs.write(reader, frame, detections, predictor, timer):
                return
            bar.update(reader.position - bar.n)
    outputs.finish(reader)


def build_video_predictor(
    cfg: CfgNode, model: object, threshold: float
) -> tuple[StreamingPredictor, VideoTracks]:
    """A tracker whose tracks appear at a threshold, and what chooses those of the whole video."""
    if not isinstance(model, (VideoSegmentor, ExportedModel)):
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
        tracks = VideoPredictor(cfg, model).new_video()
        return StreamingPredictor(_replaced(cfg, thresholds), model), tracks
    except ValueError as error:
        raise DemoError(str(error)) from error


def _replaced(cfg: CfgNode, opts: list) -> CfgNode:
    """A copy of a config with other values, given as KEY, VALUE, KEY, VALUE, ..."""
    cfg = cfg.clone()
    cfg.merge_from_list(opts)
    return cfg


if __name__ == "__main__":
    sys.exit(main())
