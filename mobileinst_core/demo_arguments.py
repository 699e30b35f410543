"""The command line of the demo, with the names that Detectron2's has."""

import argparse
from pathlib import Path

from mobileinst_core.arguments import positive_number, probability, whole_number
from mobileinst_core.runtime.runners import RUNNERS
from mobileinst_core.video.writers import CODECS

__all__ = ["VIDEO_OPTIONS", "add_exported_arguments", "get_parser"]


def get_parser(description: str) -> argparse.ArgumentParser:
    """The parser, with a description for its help."""
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    add("--config-file", default="", metavar="FILE", help="the model's yaml, to run it in PyTorch")
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
    _add_video_arguments(parser.add_argument_group("for videos and cameras"))
    add(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="config overrides, at the end: --opts MODEL.WEIGHTS model_final.pth",
    )
    return parser


def add_exported_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--model`` and ``--runtime``, which stand for ``--config-file`` and MODEL.WEIGHTS."""
    parser.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        help="a folder that tools/export.py made, in place of --config-file and MODEL.WEIGHTS",
    )
    parser.add_argument(
        "--runtime",
        choices=sorted(RUNNERS),
        help="what to run --model with, by default what it was exported for",
    )


# Those that `_add_video_arguments` adds; they make no sense for single images.
VIDEO_OPTIONS = (
    *("clip_len", "start", "end", "stride", "save_json", "video_id", "save_masks"),
    *("show", "mark_keyframes", "timings", "fps", "codec"),
)


def _add_video_arguments(group: argparse._ArgumentGroup) -> None:
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
        help="write a 16-bit PNG per frame with the track ID in each pixel, 0 = none; the "
        "highest score is on top",
    )
    add("--show", action="store_true", help="open a window even if files are written")
    add("--mark-keyframes", action="store_true", help="write on key frames that they are")
    add("--timings", action="store_true", help="print how long each stage takes, and frame rates")
    add("--fps", type=positive_number, help="frame rate of the output video")
    add("--codec", choices=CODECS, help="of the output video, by default h264 (.webm: vp9)")
