"""List everything that is wrong with an annotation file, of YouTube-VIS or COCO format.

Example:
    python tools/validate_data.py my/train.json --image-root my/JPEGImages --check-images

The exit code is 1 if there are errors, 0 if there are none or only warnings, 2 if the file cannot
be read.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from mobileinst_core.coco import validation as coco
from mobileinst_core.command import command
from mobileinst_core.entries import Finding
from mobileinst_core.errors import UserError
from mobileinst_core.files import read_json
from mobileinst_core.ytvis import validation as ytvis
from mobileinst_core.ytvis.results import load_ground_truth, load_results


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("json", help="annotation file")
    parser.add_argument(
        "--format",
        choices=("coco", "ytvis"),
        help="what the file should be; by default COCO if it has images and no videos",
    )
    parser.add_argument(
        "--image-root",
        metavar="DIR",
        help="folder to which its file names are relative: look whether every image exists",
    )
    parser.add_argument(
        "--check-images", action="store_true", help="also read every image and compare its size"
    )
    parser.add_argument(
        "--results",
        metavar="FILE",
        help="also check this file of YouTube-VIS results against the annotations, up to its first "
        "error",
    )
    args = parser.parse_args(argv)
    if args.check_images and not args.image_root:
        parser.error("--check-images needs --image-root")
    return args


def check_results(results: str, annotations: Any) -> list[Finding]:
    """The first error of a file of results, as evaluation would report it."""
    try:
        truth = load_ground_truth(annotations)
        for _ in load_results(results, truth).by_video():
            pass  # reading is the check
    except UserError as error:
        return [Finding("results", str(error))]
    return []


def check_coco(content: Any, args: argparse.Namespace) -> tuple[list[Finding], str]:
    """The findings of a COCO file, and how much it holds."""
    if args.results:
        raise UserError("--results is for YouTube-VIS results; evaluation checks those of COCO")
    findings, images = coco.check_content(content)
    if args.image_root:
        for image in tqdm(images, unit="image"):
            findings += coco.check_images([image], args.image_root, decode=args.check_images)
    return findings, f"COCO format, {len(images)} images"


def check_ytvis(content: Any, args: argparse.Namespace) -> tuple[list[Finding], str]:
    """The findings of a YouTube-VIS file, and how much it holds."""
    findings, videos = ytvis.check_content(content)
    for video in tqdm(videos, unit="video") if args.image_root else ():
        findings += ytvis.check_frames(video, args.image_root, decode=args.check_images)
    if args.results:
        findings += check_results(args.results, content)
    frames = sum(video.length for video in videos)
    return findings, f"{len(videos)} videos with {frames} frames"


def print_findings(findings: Sequence[Finding]) -> None:
    """Print findings by severity and group, the errors first."""
    groups: dict[tuple[bool, str], list[str]] = defaultdict(list)
    for finding in findings:
        groups[not finding.is_error, finding.group].append(finding.message)
    for (is_warning, group), messages in sorted(groups.items(), key=lambda item: item[0][0]):
        print(f"{'warnings' if is_warning else 'errors'}, {group} ({len(messages)}):")
        for message in messages:
            print(f"  {message}")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Check a file, print what is wrong, and return the exit code."""
    args = parse_args(argv)
    findings, amount = [], "nothing could be read"
    try:
        content = read_json(args.json)
    except UserError as error:
        if isinstance(error.__cause__, OSError):
            print(f"error: {error}", file=sys.stderr)
            return 2
        findings.append(Finding("kind of file", str(error)))
    else:
        has_images = isinstance(content, dict) and "images" in content and "videos" not in content
        kind = args.format or ("coco" if has_images else "ytvis")
        findings, amount = (check_coco if kind == "coco" else check_ytvis)(content, args)
    print_findings(findings)
    errors = sum(finding.is_error for finding in findings)
    print(f"{args.json}: {amount}, {errors} errors, {len(findings) - errors} warnings")
    return int(errors > 0)


if __name__ == "__main__":
    sys.exit(main())
