"""Frames of one or several videos side by side in one image, to judge results at a glance.

Also a command, one row per video::

    python -m mobileinst_core.video.contact_sheet --output sheet.png a.mp4 b.mp4 --frames 5
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mobileinst_core.command import command
from mobileinst_core.errors import ConfigError

from .images import write_image
from .readers import VideoReader

__all__ = ["contact_sheet", "main", "sample_frames", "spread"]


def spread(length: int, count: int) -> list[int]:
    """Numbers below a length at even distances, the first and the last among them; all of few."""
    return np.unique(np.linspace(0, length - 1, count).round().astype(int)).tolist()


def sample_frames(source: str | Path, count: int) -> list[np.ndarray]:
    """Take frames at even distances from a video, the first and the last among them.

    Args:
        source: a video file or a folder of frames, see `VideoReader`.
        count: how many frames to take.

    Returns:
        Up to ``count`` frames (H, W, 3) uint8 BGR in order; all frames of a shorter video.

    Raises:
        VideoIOError: the video cannot be read.
        ConfigError: ``count`` is not positive.
    """
    if count < 1:
        raise ConfigError(f"count is {count}, but at least one frame must be taken.")
    # Containers may declare a wrong number of frames, so they are counted.
    with VideoReader(source) as reader:
        total = sum(1 for _ in reader)
    wanted = spread(total, count)
    with VideoReader(source) as reader:
        return [frame for index, frame in enumerate(reader) if index in wanted]


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]], *, cell_width: int = 320, gap: int = 6
) -> np.ndarray:
    """Lay images out in a grid on white.

    Args:
        rows: images (H, W, 3) uint8 BGR, one sequence per row. The cells of a row have the shape
            of its first image; others are scaled to fit, at the upper left.
        cell_width: width of every cell in pixels.
        gap: white pixels between cells and around the sheet.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        ValueError: there is no image, or a size is not positive.
    """
    if not rows or not all(rows):
        raise ValueError("a contact sheet needs at least one image in every row.")
    if cell_width < 1 or gap < 0:
        raise ConfigError(f"cell_width {cell_width} must be positive and gap {gap} not negative.")
    heights = [max(1, round(row[0].shape[0] * cell_width / row[0].shape[1])) for row in rows]
    columns = max(len(row) for row in rows)
    sheet_size = (sum(heights) + gap * (len(rows) + 1), columns * (cell_width + gap) + gap, 3)
    sheet = np.full(sheet_size, 255, np.uint8)
    top = gap
    for row, height in zip(rows, heights, strict=True):
        for column, image in enumerate(row):
            left = gap + column * (cell_width + gap)
            scale = min(cell_width / image.shape[1], height / image.shape[0])
            # Rounding must not spare the last line of a cell.
            size = [max(1, round(scale * side)) for side in image.shape[1::-1]]
            size = [min(s, cell) for s, cell in zip(size, (cell_width, height), strict=True)]
            cell = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            sheet[top : top + size[1], left : left + size[0]] = cell
        top += height + gap
    return sheet


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        argv: arguments after the program's name; by default those of the process.
    """
    parser = argparse.ArgumentParser(description="Frames of videos in one image.")
    parser.add_argument("videos", nargs="+", help="video files or folders of frames, a row each")
    parser.add_argument("--output", required=True, help="the image to write, for example a .png")
    parser.add_argument("--frames", type=int, default=5, help="frames per video")
    parser.add_argument("--width", type=int, default=320, help="width of one frame in pixels")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing image")
    args = parser.parse_args(argv)
    rows = [sample_frames(source, args.frames) for source in args.videos]
    write_image(args.output, contact_sheet(rows, cell_width=args.width), overwrite=args.overwrite)


if __name__ == "__main__":
    sys.exit(main())
