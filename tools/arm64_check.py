"""Compare models exported for ncnn between this machine and an emulated 64-bit ARM.

A video is tracked three times: here in fp32; by ncnn's AArch64 wheel; and by the C++ example,
cross-compiled. Both run under QEMU, in fp32 and with the half precision that ncnn uses on phones by
itself. Told are track IDs, scores and masks that differ. Without QEMU or a cross-compiler a
sentence says what was left out. Emulation is 50 to 100 times slower than the machine: take small
inputs and a few frames.

Example::

    python tools/arm64_check.py --model exported --video frames --max-frames 12
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from arm64_machine import Arm64Python, NotAvailableError, emulator_command
from build_ncnn_example import REPOSITORY, build_example, say
from pycocotools import mask as mask_util
from tabulate import tabulate

from mobileinst_core.arguments import whole_number
from mobileinst_core.command import command
from mobileinst_core.detections import Detections
from mobileinst_core.errors import UserError
from mobileinst_core.files import write_json
from mobileinst_core.runtime.model import ExportedModel
from mobileinst_core.video.preparation import pad_image
from mobileinst_core.video.readers import VideoReader

GUEST = Path(__file__).with_name("arm64_guest.py")
# In fp32 the same arithmetic in another order; in fp16 what rounding may do to a good model.
REQUIRED_IOU = {"fp32": 0.999, "fp16": 0.95}
HEADERS = ("model", "program", "precision", "frames", "objects", "same", "IoU mean", "IoU min")
HEADERS += ("scores differ by", "outputs differ by")

# Of a frame: kernels, scores and mask_features, or of those that reuse kernels the last alone.
Outputs = Mapping[str, np.ndarray]


@dataclass
class Agreement:
    """What of a reference's live tracking is found again.

    Attributes:
        objects: instances of the reference, over all frames.
        same: those found in the same frame with the same identity and class.
        extra: instances that the reference does not have.
        ious: mask IoU of the same ones.
        score_difference: largest difference of their scores.
    """

    objects: int = 0
    same: int = 0
    extra: int = 0
    ious: list[float] = field(default_factory=list)
    score_difference: float = 0.0

    def add(self, reference: Detections, found: Detections) -> None:
        """Compare the instances of a frame."""
        others = {(i, c): n for n, (i, c) in enumerate(zip(found.ids, found.classes, strict=True))}
        self.objects += len(reference)
        for n, key in enumerate(zip(reference.ids, reference.classes, strict=True)):
            if (other := others.pop(key, None)) is None:
                continue
            self.same += 1
            ours, theirs = reference.masks[n], found.masks[other]
            self.ious.append(float((ours & theirs).sum() / (ours | theirs).sum()))
            difference = abs(float(reference.scores[n] - found.scores[other]))
            self.score_difference = max(self.score_difference, difference)
        self.extra += len(others)

    def fails(self, precision: str) -> bool:
        """Whether identities, classes or masks are not those of the reference."""
        is_same = self.same == self.objects and not self.extra
        return not is_same or float(np.mean(self.ious or [1])) < REQUIRED_IOU[precision]


class Check:
    """A model and a video, tracked here and there."""

    def __init__(self, folder: Path, frames: Sequence[np.ndarray], scratch: Path) -> None:
        """Track the frames here, in fp32.

        Args:
            folder: exported for ncnn.
            frames: (H, W, 3) uint8, BGR.
            scratch: for files.
        """
        self.folder, self.frames, self.scratch = folder.resolve(), frames, scratch
        self.model = ExportedModel.load(folder)
        if self.model.manifest.runtime != "ncnn":
            raise UserError(f"{folder} was not exported for ncnn")
        clip_len = self.model.manifest.thresholds["tracking"]["clip_len"]
        self.is_keyframe = [t % clip_len == 0 for t in range(len(frames))]
        self.outputs = [
            self.model.keyframe([image]) if full else {"mask_features": self.model.reuse([image])}
            for image, full in zip(map(self.model.prepare, frames), self.is_keyframe, strict=True)
        ]
        self.reference = self._track(self.outputs)

    def wheel(self, python: Arm64Python, precision: str) -> dict[str, Any]:
        """Run the graphs in ncnn's AArch64 wheel; a row of the table."""
        images, outputs = self.scratch / "images.npz", self.scratch / "outputs.npz"
        pad_value = self.model.manifest.input["pad_value"]
        padded = [pad_image(self.model.prepare(x), self.model.size, pad_value) for x in self.frames]
        np.savez(images, **{str(t): image for t, image in enumerate(padded)})
        request = {
            "folder": str(self.folder),
            "graphs": self.model.manifest.graphs,
            "names": ["keyframe" if full else "reuse" for full in self.is_keyframe],
            "images": str(images),
            "outputs": str(outputs),
            "half_precision": precision == "fp16",
        }
        request_file = self.scratch / "request.json"
        write_json(request_file, request)
        python.run([str(GUEST), str(request_file)], path=[REPOSITORY])
        with np.load(outputs) as arrays:
            found = [
                {name: arrays[f"{t}.{name}"] for name in reference}
                for t, reference in enumerate(self.outputs)
            ]
        difference = max(
            float(np.abs(ours[name] - theirs[name]).max() / np.abs(ours[name]).max())
            for ours, theirs in zip(self.outputs, found, strict=True)
            for name in ours
        )
        row = self._row("Python", precision, self._track(found))
        return {**row, "output_difference": difference}

    def example(self, program: Path, precision: str) -> dict[str, Any]:
        """Run the C++ example; a row of the table."""
        frames, results = self.scratch / "frames", self.scratch / precision
        frames.mkdir(exist_ok=True)
        for t, frame in enumerate(self.frames):
            cv2.imwrite(str(frames / f"{t:06d}.ppm"), frame)
        call = emulator_command(program, self.folder, frames, results)
        call += ["--fp16"] if precision == "fp16" else []
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"{program} failed in the emulator: {done.stderr}")
        lines = (results / "results.jsonl").read_text(encoding="utf-8").splitlines()
        found = [_detections(json.loads(line)["instances"]) for line in lines]
        return {**self._row("C++", precision, found), "output_difference": None}

    def _track(self, outputs: Sequence[Outputs]) -> list[Detections]:
        """Track the frames with what graphs gave for them."""
        tracker, remaining = self.model.online_tracker(), iter(outputs)
        tracker.runner.network = tracker.runner.network._replace(
            keyframe=lambda _: next(remaining), reuse=lambda _: next(remaining)["mask_features"]
        )
        return [tracker.step(frame) for frame in self.frames]

    def _row(self, program: str, precision: str, found: Sequence[Detections]) -> dict[str, Any]:
        agreement = Agreement()
        for ours, theirs in zip(self.reference, found, strict=True):
            agreement.add(ours, theirs)
        return {
            "model": str(self.folder),
            "program": program,
            "precision": precision,
            "frames": len(self.frames),
            "objects": agreement.objects,
            "same": agreement.same,
            "extra": agreement.extra,
            "iou_mean": float(np.mean(agreement.ious)) if agreement.ious else None,
            "iou_min": min(agreement.ious, default=None),
            "score_difference": agreement.score_difference,
            "fails": agreement.fails(precision),
        }


def _detections(instances: Sequence[Mapping[str, Any]]) -> Detections:
    """A frame of the example's results.jsonl."""
    masks = [mask_util.decode(x["segmentation"]).astype(bool) for x in instances]
    return Detections(
        masks=np.stack(masks) if masks else np.zeros((0, 1, 1), bool),
        boxes=np.float32([x["box"] for x in instances]).reshape(-1, 4),
        scores=np.float32([x["score"] for x in instances]),
        classes=np.int64([x["class"] for x in instances]),
        ids=np.int64([x["id"] for x in instances]),
    )


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--model",
        required=True,
        nargs="+",
        type=Path,
        metavar="DIR",
        help="folders made by tools/export.py --format ncnn",
    )
    add("--video", required=True, type=Path, metavar="PATH", help="a video or folder of images")
    add(
        "--max-frames",
        type=whole_number(1),
        default=12,
        metavar="N",
        help="only the first N frames (default: %(default)s)",
    )
    add(
        "--build",
        type=Path,
        default=REPOSITORY / "build" / "arm64",
        metavar="DIR",
        help="for the emulated Python and the compiled example (default: %(default)s)",
    )
    add("--json", type=Path, metavar="FILE", help="also write the numbers")
    return parser.parse_args(argv)


def prepare_programs(build: Path) -> tuple[Arm64Python | None, Path | None]:
    """The emulated Python and the cross-compiled example; None for what cannot be had here."""
    python = program = None
    try:
        python = Arm64Python(build / "python")
    except NotAvailableError as error:
        say(f"ncnn's AArch64 wheel is left out: {error}")
    try:
        emulator_command("")
        program = build_example(build / "example", quick=True, arm64=True).resolve()
    except NotAvailableError as error:
        say(f"the C++ example is left out: {error}")
    return python, program


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Compare, print the table.

    Args:
        argv: the command line, by default that of the process.

    Returns:
        The exit status: 1 if something differs that should not.
    """
    args = parse_args(argv)
    python, program = prepare_programs(args.build)
    with VideoReader(args.video, end=args.max_frames) as reader:
        frames = list(reader)
    rows = []
    for folder in args.model if python or program else []:
        with tempfile.TemporaryDirectory(prefix="mobileinst_arm64_") as scratch:
            check = Check(folder, frames, Path(scratch))
            for precision in REQUIRED_IOU:
                rows += [check.wheel(python, precision)] if python else []
                rows += [check.example(program, precision)] if program else []
    if args.json:
        write_json(args.json, rows)
    if rows:
        columns = [key for key in rows[0] if key not in ("extra", "fails")]
        table = [[row[key] for key in columns] for row in rows]
        print(tabulate(table, HEADERS, "github", floatfmt=".4g"))
    failed = [row for row in rows if row["fails"]]
    for row in failed:
        say(f"{row['model']}: {row['program']} in {row['precision']} is not what is given here")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
