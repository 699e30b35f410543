"""Split a YouTube-VIS training file into a training and a validation part, by video.

Example:
    python tools/split_ytvis.py --json datasets/ytvis_2019/train.json

writes train_sub.json and val_sub.json beside it, which are then known as ytvis_2019_train_sub and
ytvis_2019_val_sub. The images stay where they are.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from mobileinst_core.command import command
from mobileinst_core.errors import UserError, naming
from mobileinst_core.files import read_json, write_json
from mobileinst_core.video.images import prepare_output
from mobileinst_core.ytvis.split import split_videos


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, required=True, help="annotation file to split")
    parser.add_argument(
        "--val-fraction",
        type=float,
        default=0.1,
        help="part of the videos for validation (default: %(default)s); more if that is needed "
        "for every category with at least two videos to occur in both parts",
    )
    parser.add_argument("--seed", type=int, default=0, help="other seeds give other parts")
    parser.add_argument(
        "--max-videos", type=int, metavar="N", help="take only N videos in total, for trials"
    )
    parser.add_argument(
        "--output-dir", type=Path, metavar="DIR", help="where to write (default: beside the file)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    return parser.parse_args(argv)


def summary(name: str, part: dict) -> tuple[str, int, int, int, int]:
    """A row of the table."""
    frames = sum(len(video["file_names"]) for video in part["videos"])
    categories = {entry["category_id"] for entry in part["annotations"]}
    return name, len(part["videos"]), frames, len(part["annotations"]), len(categories)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, split and write."""
    args = parse_args(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    folder = args.output_dir or args.json.parent
    paths = [folder / "train_sub.json", folder / "val_sub.json"]
    if args.json.resolve() in [path.resolve() for path in paths]:
        raise UserError(f"{args.json} would be replaced; give the whole training file.")
    for path in paths:
        prepare_output(path, overwrite=args.overwrite)
    content = read_json(args.json)
    with naming(args.json):
        parts = split_videos(
            content, val_fraction=args.val_fraction, seed=args.seed, max_videos=args.max_videos
        )
    for path, part in zip(paths, parts, strict=True):
        write_json(path, part)
    rows = [summary(str(path), part) for path, part in zip(paths, parts, strict=True)]
    headers = ("file", "videos", "frames", "tracks", "categories that occur")
    print(tabulate([summary(str(args.json), content), *rows], headers))
    print(f"Both files list all {len(content['categories'])} categories.")


if __name__ == "__main__":
    sys.exit(main())
