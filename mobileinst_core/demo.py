"""Show what a trained model sees: on images, on videos and through a camera.

Images are predicted one by one. Videos and cameras are tracked: every object keeps its number
and its colour, and memory does not grow with the length.

The model is an exported folder, which needs neither PyTorch nor Detectron2, or a config with
weights, which needs both.
"""

import argparse
import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from mobileinst_core.command import command, ending_well, finish_undisturbed
from mobileinst_core.demo_arguments import VIDEO_OPTIONS, get_parser
from mobileinst_core.detections import Detections
from mobileinst_core.errors import UserError
from mobileinst_core.runtime.model import ExportedModel
from mobileinst_core.tracking.offline import OfflineTracker, VideoTracks
from mobileinst_core.tracking.online import OnlineTracker, TrackedFrame, tracked_frames
from mobileinst_core.video import file_args
from mobileinst_core.video.drawing import TrackVisualizer
from mobileinst_core.video.id_maps import IdMapWriter
from mobileinst_core.video.images import ImageReadError, prepare_output, read_image, write_image
from mobileinst_core.video.pipeline import StageTimer
from mobileinst_core.video.readers import VideoReader
from mobileinst_core.video.window import Window
from mobileinst_core.video.writers import VideoWriter
from mobileinst_core.ytvis.results_file import VideoResultsFile

__all__ = ["Model", "main", "network_threads", "open_model"]

TITLE = "MobileInst"

logger = logging.getLogger(__name__)


class Model(Protocol):
    """What the demo asks of a model.

    Attributes:
        class_names: in the order of the class indices.
        category_ids: of the data set, in the same order.
    """

    class_names: Sequence[str]
    category_ids: Sequence[int]

    def predict(self, image: np.ndarray) -> Detections:
        """The instances of an image (H, W, 3) uint8, BGR, best first."""

    def online_tracker(self, score_on: float | None = None) -> OnlineTracker:
        """A tracker of frames, which shows tracks from a score on."""

    def offline_tracker(self) -> OfflineTracker:
        """A tracker of whole videos."""


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the demo.

    Args:
        argv: arguments after the program's name; by default those of the process.
    """
    parser = get_parser(__doc__.splitlines()[0])
    args = parser.parse_args(argv)
    for name in VIDEO_OPTIONS:
        value = getattr(args, name)
        if args.input and value is not None and value is not False:
            parser.error(f"--{name.replace('_', '-')} is for videos, not for --input")
    if args.end is not None and args.end <= (args.start or 0):
        parser.error("--end must be above --start")
    if args.video_id is not None and not args.save_json:
        parser.error("--video-id is for --save-json")
    with ending_well():
        set_up_logging()
        run = run_images if args.input else run_video
        run(args)


def set_up_logging() -> None:
    """Show what the packages log on standard output."""
    for name in ("mobileinst_core", "mobileinst_d2"):
        package = logging.getLogger(name)
        package.setLevel(logging.INFO)
        package.propagate = False
        if not package.handlers:
            handler = logging.StreamHandler(sys.stdout)
            handler.setFormatter(
                logging.Formatter("[%(asctime)s %(name)s]: %(message)s", datefmt="%m/%d %H:%M:%S")
            )
            package.addHandler(handler)


def open_model(args: argparse.Namespace) -> Model:
    """Open the exported folder or build the network that the command line names.

    Args:
        args: with ``model``, ``runtime``, ``config_file``, ``clip_len`` and ``opts``.

    Raises:
        UserError: options contradict each other, the model cannot be used, or what it needs is not
            installed.
    """
    opts = [*args.opts]
    if args.clip_len:
        opts += ["TEST.TRACKING.CLIP_LEN", str(args.clip_len)]
    if args.model is not None:
        if args.config_file:
            raise UserError(
                f"--config-file and --model exclude each other: {args.model} has all that it was "
                "exported with."
            )
        return ExportedModel.load(args.model, args.runtime, opts, num_threads=network_threads())
    if args.runtime:
        raise UserError("--runtime is for exported models: name the folder with --model.")
    try:
        # By name, as this package does without the other one, and without PyTorch.
        predictor = importlib.import_module("mobileinst_d2.engine.predictor")
    except ModuleNotFoundError as error:
        raise UserError(
            f"a model in PyTorch (--config-file) cannot be run here: {error}. An exported folder "
            "(--model) needs neither PyTorch nor Detectron2."
        ) from error
    return predictor.open_predictor(args.config_file, opts)


def network_threads() -> int:
    """Threads for the network: all cores, as the other stages leave most of them; four at most."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return min(4, cores)


def run_images(args: argparse.Namespace) -> None:
    """Predict images one by one and write or show them.

    Args:
        args: the command line, with ``input``.

    Raises:
        UserError: inputs are missing or unreadable, an output cannot be written, or the model
            cannot be used.
    """
    paths = file_args.expand_inputs(args.input)
    targets = None
    if args.output:
        targets = file_args.image_targets(paths, args.output, overwrite=args.overwrite)
    failures = []
    best_score, num_shown = 0.0, 0
    with contextlib.ExitStack() as stack:
        # First of all: where there is no display, that is known at once.
        window = None if targets else stack.enter_context(Window(TITLE))
        model = open_model(args)
        visualizer = TrackVisualizer(model.class_names)
        for index, path in enumerate(tqdm(paths, unit="image", disable=len(paths) == 1)):
            try:
                frame = read_image(path)
            except ImageReadError as error:
                logger.error("%s", error)
                failures.append(str(error))
                continue
            detections = model.predict(frame)
            best_score = max(best_score, float(detections.scores.max(initial=0.0)))
            detections = detections[detections.scores >= args.confidence_threshold]
            num_shown += len(detections)
            drawn = visualizer.draw_instance_predictions(frame, detections)
            if targets:
                write_image(targets[index], drawn, overwrite=args.overwrite)
                logger.info("%s: %d instances, see %s.", path, len(detections), targets[index])
            elif not window.show(drawn, wait_for_key=True):
                break
    if num_shown == 0 and len(failures) < len(paths):
        say_nothing_was_shown(args.confidence_threshold, best_score)
    if failures:
        raise UserError(f"{len(failures)} of {len(paths)} images were left out: {failures[0]}")


def say_nothing_was_shown(threshold: float, best_score: float) -> None:
    """Explain images without objects."""
    logger.warning(
        "Nothing is shown, as no object reached the score %g; the best had %.3f. "
        "--confidence-threshold shows less certain ones.",
        threshold,
        best_score,
    )


def run_video(args: argparse.Namespace) -> None:
    """Track the objects of a video or camera and write or show them.

    Args:
        args: the command line, with ``video_input`` or ``webcam``.

    Raises:
        UserError: the model cannot be used or cannot track, frames were skipped, the source
            cannot be read or an output not be written.
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
        model = open_model(args)
        folder = args.save_json.parent if args.save_json else None
        tracker, tracks = build_trackers(model, args.confidence_threshold, folder)
        if target or outputs.window:
            outputs.visualizer = TrackVisualizer(model.class_names)
        size = (reader.width, reader.height)
        if args.save_json:
            video_id = 1 if args.video_id is None else args.video_id
            ids = model.category_ids
            results = VideoResultsFile(args.save_json, tracks, video_id, ids, size[::-1])
            outputs.results = stack.enter_context(results)
        if target:
            outputs.video = VideoWriter(
                target, fps=reader.fps, size=size, codec=args.codec, overwrite=args.overwrite
            )
            stack.enter_context(outputs.video)
        stack.callback(finish_undisturbed)
        try:
            track(reader, tracker, outputs, timer)
        finally:
            if outputs.video:
                count, codec = outputs.video.num_frames, outputs.video.codec
                logger.info("%s: %d frames, %s.", target, count, codec)
            if outputs.num_shown == 0 and tracker.frame_index >= 0:
                say_nothing_was_shown(args.confidence_threshold, tracker.tracks.best_score)
            if reader.live:
                logger.info(
                    "%d of %d frames were dropped, as the model was busy.",
                    reader.num_dropped,
                    reader.position,
                )
            if args.timings:
                sys.stdout.write(f"{timer.table()}\n")
    if reader.num_damaged:
        raise UserError(
            f"{reader.num_damaged} of {reader.position} frames could not be decoded, see the "
            "warnings. The others are done; a video keeps showing the frame before each."
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
        UserError: the results file cannot be made of this source, or has another suffix.
    """
    targets = {"--output": target, "--save-json": args.save_json, "--save-masks": args.save_masks}
    file_args.check_targets(source, targets)
    if args.save_json and args.save_json.suffix.lower() != ".json":
        raise UserError(f"--save-json {args.save_json}: the name must end with .json.")
    if args.save_json and live and args.end is None:
        raise UserError(
            "--save-json keeps something of every frame until the last one, so a camera or stream "
            "needs an --end."
        )
    for path in (target, args.save_json):
        if path:
            prepare_output(path, overwrite=args.overwrite)


@dataclass
class TrackOutputs:
    """What is made of the tracked frames of a video, to look at and as files; None is left out.

    Frames that the reader skipped keep their place: a video shows the frame before until the
    time of the next, results show nothing, and there is no map of identities.

    Attributes:
        visualizer: draws the frames; needed for a window and for a video.
        window: shows them.
        video: takes them.
        maps: takes the identities per pixel.
        results: takes the predictions, for the results of the whole video.
        mark_keyframes: write on key frames that they are.
        num_shown: instances in all frames so far.
    """

    visualizer: TrackVisualizer | None = None
    window: Window | None = None
    video: VideoWriter | None = None
    maps: IdMapWriter | None = None
    results: VideoResultsFile | None = None
    mark_keyframes: bool = False
    num_shown: int = 0
    _position: int = 0

    def write(self, tracked: TrackedFrame, timer: StageTimer) -> bool:
        """Put out one frame.

        Args:
            tracked: the frame and what is tracked on it.
            timer: measures the stages "collect", "draw" and "write".

        Returns:
            False when the user asked to stop.

        Raises:
            VideoIOError: a file cannot be written.
        """
        frame, detections = tracked.frame, tracked.detections
        self.num_shown += len(detections)
        self._position = frame.position
        if self.results:
            with timer.measure("collect"):
                self.results.fill(frame.position - 1)
                self.results.add(tracked.prediction, tracked.image_size)
        if self.visualizer:
            with timer.measure("draw"):
                is_marked = self.mark_keyframes and tracked.prediction.is_keyframe
                drawn = self.visualizer.draw_instance_predictions(
                    frame.pixels, detections, mark="key frame" if is_marked else None
                )
        with timer.measure("write"):
            if self.maps:
                self.maps.write(frame.name, detections)
            if self.video:
                self.video.write(drawn, frame.time)
            return self.window is None or self.window.show(drawn)

    def finish(self, reader: VideoReader) -> None:
        """Account for frames that the reader, which is at its end, skipped there."""
        if self.results:
            self.results.fill(reader.position)
        if self.video and reader.position > self._position:
            self.video.hold(reader.position / reader.fps)


def track(
    reader: VideoReader, tracker: OnlineTracker, outputs: TrackOutputs, timer: StageTimer
) -> None:
    """Track all frames of a reader, under a progress bar, until the end or the user's wish."""
    with (
        tqdm(total=reader.num_frames, unit="frame") as bar,
        tracked_frames(reader, tracker) as frames,
    ):
        for tracked in frames:
            timer.start_frame(tracked.seconds)
            if not outputs.write(tracked, timer):
                return
            bar.update(tracked.frame.position - bar.n)
    outputs.finish(reader)


def build_trackers(
    model: Model, threshold: float, folder: Path | None
) -> tuple[OnlineTracker, VideoTracks]:
    """A tracker whose tracks appear at a threshold, and what chooses those of the whole video."""
    try:
        return model.online_tracker(threshold), model.offline_tracker().new_video(folder)
    except ValueError as error:
        raise UserError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
