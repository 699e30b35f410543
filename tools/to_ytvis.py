"""Convert annotations of videos to the YouTube-VIS format, and back.

Examples:
    python tools/to_ytvis.py coco --json frames.json --output my/train.json
    python tools/to_ytvis.py masks --masks Annotations --images JPEGImages --output my/train.json
    python tools/to_ytvis.py labelme --images my/videos --output my/train.json
    python tools/to_ytvis.py frames --json my/train.json --output my/masks --coco my/frames.json

datasets/README.md says how the inputs look.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from mobileinst_d2.data.converters import (
    CocoVideos,
    IdMaskVideos,
    LabelmeVideos,
    build_content,
    export_coco,
    export_id_masks,
)
from mobileinst_d2.utils.files import read_json, write_json
from mobileinst_d2.utils.image_io import VideoIOError, prepare_output


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
        help="values that are no object, or none (default: 255 in pictures of 8 bits)",
    )
    labelme = commands.add_parser("labelme", help="JSON files of LabelMe beside the frames")
    for command in (masks, labelme):
        command.add_argument(
            "--images", type=Path, required=True, help="folder of folders of frames"
        )
        command.add_argument(
            "--categories",
            type=Path,
            metavar="FILE",
            help="YAML or JSON file that lists the classes",
        )
        command.add_argument(
            "--keep-unannotated",
            action="store_true",
            help="take frames without an annotation file for frames without objects; otherwise "
            "they are left out",
        )
    for command in (coco, masks, labelme):
        command.add_argument("--output", type=Path, required=True, help="file to write")
    frames = commands.add_parser("frames", help="back: masks of object numbers from YouTube-VIS")
    frames.add_argument("--json", type=Path, required=True, help="YouTube-VIS file")
    frames.add_argument("--output", type=Path, required=True, help="folder to write to")
    frames.add_argument(
        "--coco", type=Path, metavar="FILE", help="also write a COCO file of the frames"
    )
    for command in commands.choices.values():
        command.add_argument("--overwrite", action="store_true", help="replace what exists")
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


def convert_back(args: argparse.Namespace) -> None:
    """Write masks of object numbers, and a COCO file if wanted."""
    if args.output.exists() and not args.overwrite and any(args.output.iterdir()):
        raise FileExistsError(f"{args.output} is not empty; --overwrite replaces what it holds.")
    if args.coco:
        prepare_output(args.coco, overwrite=args.overwrite)
    content = read_json(args.json)
    try:
        lost = export_id_masks(content, args.output, partial(tqdm, unit="video"))
        if args.coco:
            write_json(args.coco, export_coco(content))
    except ValueError as error:
        raise ValueError(f"{args.json}: {error}") from error
    print(f"{args.output}: masks of {len(content['videos'])} videos")
    if lost:
        print(f"{lost} pixels were lost: objects overlap, and the masks show the first of them.")


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and convert."""
    args = parse_args(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    try:
        if args.command == "frames":
            convert_back(args)
        else:
            convert(args)
    except (OSError, ValueError, VideoIOError) as error:
        sys.exit(f"to_ytvis: {error}")


if __name__ == "__main__":
    main()
