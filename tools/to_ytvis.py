"""Convert annotations of videos to the YouTube-VIS format.

Examples:
    python tools/to_ytvis.py coco --json frames.json --output my/train.json
    python tools/to_ytvis.py masks --masks Annotations --images JPEGImages --output my/train.json
    python tools/to_ytvis.py labelme --images my/videos --output my/train.json

datasets/README.md says how the inputs look.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from mobileinst_core.command import command
from mobileinst_core.files import write_json
from mobileinst_core.video.images import prepare_output
from mobileinst_core.ytvis.converters import (
    CocoVideos,
    IdMaskVideos,
    LabelmeVideos,
    build_content,
)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    coco = commands.add_parser("coco", help="COCO file of frames whose annotations name objects")
    coco.add_argument("--json", type=Path, required=True, help="COCO file")
    coco.add_argument(
        "--track-key",
        metavar="KEY",
        help="key of an annotation, or of its attributes, that tells objects apart (default: "
        "track_id, then instance_id)",
    )
    masks = commands.add_parser("masks", help="PNG files whose pixels are object numbers")
    masks.add_argument("--masks", type=Path, required=True, help="folder of folders of masks")
    masks.add_argument(
        "--ignore",
        type=int,
        nargs="*",
        metavar="ID",
        help="values that are no object, or none (default: 255 in images of 8 bits)",
    )
    labelme = commands.add_parser("labelme", help="JSON files of LabelMe beside the frames")
    for kind in (masks, labelme):
        kind.add_argument("--images", type=Path, required=True, help="folder of folders of frames")
        kind.add_argument(
            "--categories",
            type=Path,
            metavar="FILE",
            help="YAML or JSON file that lists the classes",
        )
        kind.add_argument(
            "--keep-unannotated",
            action="store_true",
            help="take frames without an annotation file for frames without objects; otherwise "
            "they are left out",
        )
    for kind in (coco, masks, labelme):
        kind.add_argument("--output", type=Path, required=True, help="file to write")
        kind.add_argument("--overwrite", action="store_true", help="replace what exists")
    return parser.parse_args(argv)


def open_source(args: argparse.Namespace) -> CocoVideos | IdMaskVideos | LabelmeVideos:
    """The annotations to convert."""
    if args.command == "coco":
        return CocoVideos(args.json, track_key=args.track_key)
    options = {"class_file": args.categories, "keep_unannotated": args.keep_unannotated}
    if args.command == "masks":
        return IdMaskVideos(args.masks, args.images, ignore=args.ignore, **options)
    return LabelmeVideos(args.images, **options)


def convert(args: argparse.Namespace) -> None:
    """Write a YouTube-VIS file."""
    prepare_output(args.output, overwrite=args.overwrite)
    source = open_source(args)
    content = build_content(tqdm(source, unit="video"), source.categories)
    write_json(args.output, content)
    frames = sum(video["length"] for video in content["videos"])
    print(
        f"{args.output}: {len(content['videos'])} videos with {frames} frames, "
        f"{len(content['annotations'])} tracks, {len(content['categories'])} categories"
    )


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and convert."""
    args = parse_args(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    convert(args)


if __name__ == "__main__":
    sys.exit(main())
