"""Make an animated image, which plays on code hosts, of one video or of several side by side.

The README's, after `make demo`::

    python tools/animated_image.py output/demo/input.mp4 output/demo/tracked.mp4 \\
        --output docs/images/tracked.webp
"""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mobileinst_core.arguments import whole_number
from mobileinst_core.command import command
from mobileinst_core.errors import UserError
from mobileinst_core.files import replacing
from mobileinst_core.video.readers import VideoReader

SUFFIXES = (".webp", ".gif")
_GAP = 8  # white pixels between two videos


def joined_frames(videos: Sequence[Path], height: int, stride: int) -> Iterator[np.ndarray]:
    """Frames of videos side by side, until the shortest ends.

    Args:
        videos: files or folders of frames.
        height: of the result in pixels.
        stride: every how many frames one is taken.

    Yields:
        (height, W, 3), uint8, RGB.
    """
    with ExitStack() as stack:
        readers = [stack.enter_context(VideoReader(str(x), stride=stride)) for x in videos]
        for frames in zip(*readers, strict=False):
            parts = []
            for frame in frames:
                width = round(frame.shape[1] * height / frame.shape[0])
                parts += [
                    cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA),
                    np.full((height, _GAP, 3), 255, np.uint8),
                ]
            yield np.hstack(parts[:-1])[..., ::-1]


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and write the image."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO")
    parser.add_argument("--output", type=Path, required=True, help=f"one of {', '.join(SUFFIXES)}")
    parser.add_argument("--height", type=whole_number(1), default=288, help="default: %(default)s")
    parser.add_argument("--stride", type=whole_number(1), default=1, help="every n-th frame")
    parser.add_argument("--quality", type=whole_number(1), default=70, help="of WebP")
    args = parser.parse_args(argv)
    if args.output.suffix not in SUFFIXES:
        raise UserError(f"--output {args.output} must end in {' or '.join(SUFFIXES)}")
    with VideoReader(str(args.videos[0]), stride=args.stride) as reader:
        milliseconds = round(1000 / reader.fps)
    images = [Image.fromarray(x) for x in joined_frames(args.videos, args.height, args.stride)]
    args.output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(args.output) as partial:
        images[0].save(
            partial,
            format=args.output.suffix[1:],
            save_all=True,
            append_images=images[1:],
            duration=milliseconds,
            loop=0,
            quality=args.quality,
            method=6,
        )
    print(f"{args.output}: {len(images)} frames, {args.output.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    raise SystemExit(main())
