"""Measure what the demo gains as its stages overlap, and what each stage costs.

A video is tracked, drawn and written twice in each round: in one loop, with one thread for the
network, and as the demo does it, in overlapping stages and with its number of threads. The tracks
must be the same. Told are frames per second, their ratio, and the CPU time of each stage in the
loop, from which the ratio follows that free cores allow at most: reading with preparation, and
drawing with writing, run in one thread each, and all of it on the cores there are.

Example::

    python benchmarks/overlap.py --model exported/onnx --video VIDEO.mp4 --frames 120
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from reporting import describe_machine

from mobileinst_core.command import command
from mobileinst_core.demo import network_threads
from mobileinst_core.errors import UserError
from mobileinst_core.runtime.model import ExportedModel
from mobileinst_core.tracking.online import tracked_frames
from mobileinst_core.video.drawing import TrackVisualizer
from mobileinst_core.video.readers import VideoReader
from mobileinst_core.video.writers import VideoWriter


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", required=True, type=Path, metavar="DIR", help="made by tools/export.py")
    add("--video", required=True, metavar="FILE", help="what to track")
    add("--frames", type=int, default=120, metavar="N", help="of it, default 120")
    add("--rounds", type=int, default=3, metavar="N", help="default 3")
    add("--threshold", type=float, default=0.4, metavar="SCORE", help="to show tracks from")
    add("--json", type=Path, metavar="FILE", help="also write the numbers")
    add("opts", nargs=argparse.REMAINDER, help="overrides: TEST.TRACKING.CLIP_LEN 3 ...")
    return parser.parse_args(argv)


class Run:
    """One pass over the video."""

    def __init__(self, args: argparse.Namespace, model: ExportedModel, output: Path) -> None:
        """Open what is read and written, and set up the tracker."""
        self.reader = VideoReader(args.video, end=args.frames)
        self.tracker = model.online_tracker(args.threshold)
        self.visualizer = TrackVisualizer(model.class_names)
        size = (self.reader.width, self.reader.height)
        self.writer = VideoWriter(output, fps=self.reader.fps, size=size, overwrite=True)
        self.shown: list[list[int]] = []
        self.seconds = {"read and prepare": 0.0, "track": 0.0, "draw and write": 0.0}

    def in_one_loop(self) -> float:
        """One stage after the other; returns seconds."""
        start = time.perf_counter()
        with self.reader, self.writer:
            frames = self.reader.frames()
            while True:
                with self._cpu("read and prepare"):
                    frame = next(frames, None)
                    image = None if frame is None else self.tracker.prepare(frame.pixels)
                if frame is None:
                    break
                with self._cpu("track"):
                    detections = self.tracker.step(frame.pixels, image=image)
                with self._cpu("draw and write"):
                    self._put_out(frame, detections)
        return time.perf_counter() - start

    def overlapping(self) -> float:
        """As the demo does it; returns seconds."""
        start = time.perf_counter()
        with self.reader, self.writer, tracked_frames(self.reader, self.tracker) as frames:
            for tracked in frames:
                self._put_out(tracked.frame, tracked.detections)
        return time.perf_counter() - start

    def _put_out(self, frame, detections) -> None:
        self.shown.append(detections.ids.tolist())
        drawn = self.visualizer.draw_instance_predictions(frame.pixels, detections)
        self.writer.write(drawn, frame.time)

    @contextmanager
    def _cpu(self, stage: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[stage] += time.process_time() - start


def measure(args: argparse.Namespace, folder: Path) -> dict:
    """Run both ways in turn.

    Args:
        args: the command line.
        folder: for the videos.

    Returns:
        Medians over the rounds: ``loop_fps``, ``overlap_fps``, their ``ratio`` within a round,
        ``cpu_ms`` per frame of each stage, and ``possible``, the ratio that the CPU times allow.

    Raises:
        UserError: the two ways show different tracks.
    """
    threads = network_threads()
    model = ExportedModel.load(args.model, opts=args.opts, num_threads=1)
    demo_model = ExportedModel.load(args.model, opts=args.opts, num_threads=threads)
    rounds = []
    for _ in range(args.rounds):
        loop = Run(args, model, folder / "loop.mp4")
        loop_seconds = loop.in_one_loop()
        overlap = Run(args, demo_model, folder / "overlap.mp4")
        overlap_seconds = overlap.overlapping()
        if loop.shown != overlap.shown:
            raise UserError("the two ways show different tracks")
        count = len(loop.shown)
        cpu = {stage: 1000 * seconds / count for stage, seconds in loop.seconds.items()}
        rounds.append((count / loop_seconds, count / overlap_seconds, cpu))
    cpu = {stage: statistics.median(x[2][stage] for x in rounds) for stage in rounds[0][2]}
    total = sum(cpu.values())
    alone = (cpu["read and prepare"], cpu["draw and write"], cpu["track"] / threads)
    return {
        "loop_fps": statistics.median(x[0] for x in rounds),
        "overlap_fps": statistics.median(x[1] for x in rounds),
        "ratio": statistics.median(x[1] / x[0] for x in rounds),
        "cpu_ms": cpu,
        "cores": threads,
        "possible": total / max(*alone, total / threads),
    }


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        argv: arguments after the program's name; by default those of the process.
    """
    args = parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(args, Path(folder))
    print(f"Medians of {args.rounds} rounds; {describe_machine()}\n")
    for stage, milliseconds in found["cpu_ms"].items():
        print(f"{stage:18} {milliseconds:6.1f} ms of CPU per frame")
    print(f"in one loop        {found['loop_fps']:6.1f} frames per second")
    print(f"overlapping        {found['overlap_fps']:6.1f} frames per second")
    print(f"ratio              {found['ratio']:6.2f}, median within a round")
    print(f"possible           {found['possible']:6.2f}, with {found['cores']} free cores")
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
