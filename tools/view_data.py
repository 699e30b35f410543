"""Draw a data set: annotations, augmented training samples, results beside annotations.

Videos in the YouTube-VIS format become videos, images in the COCO format images; with them goes a
contact sheet.

Annotations, and results beside them:
    python tools/view_data.py --json my/val.json --images my/val --output drawn
    python tools/view_data.py --json my/val.json --images my/val --output drawn \\
        --results output/my/inference/results.json
What a training sees, with its augmentation:
    python tools/view_data.py --config-file output/my/config.yaml --output drawn
"""

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

from mobileinst_core.arguments import positive_number, probability, whole_number
from mobileinst_core.coco.videos import (
    image_results_as_videos,
    images_as_videos,
    is_video_file,
)
from mobileinst_core.command import command
from mobileinst_core.errors import UserError, naming
from mobileinst_core.files import read_json
from mobileinst_core.video.contact_sheet import contact_sheet
from mobileinst_core.video.images import write_image
from mobileinst_core.ytvis.results import load_ground_truth, load_results
from mobileinst_core.ytvis.viewer import DataViewer

SHEET = "contact_sheet.jpg"


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="annotation file")
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of its images")
    parser.add_argument("--results", type=Path, metavar="FILE", help="results to draw beside it")
    parser.add_argument(
        "--score", type=probability, default=0.3, help="of results (default: %(default)s)"
    )
    parser.add_argument("--config-file", help="draw training samples of this config")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="what to write")
    parser.add_argument(
        "--max",
        type=whole_number(1),
        default=20,
        metavar="N",
        help="videos, images or samples at most (default: %(default)s)",
    )
    parser.add_argument("--ids", type=int, nargs="+", help="ids of the videos or images to draw")
    parser.add_argument(
        "--frames",
        type=whole_number(1),
        default=5,
        help="in a row of the contact sheet (default: %(default)s)",
    )
    parser.add_argument("--fps", type=positive_number, default=6, help="default: %(default)s")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="config overrides KEY VALUE ...")
    args = parser.parse_args(argv)
    if bool(args.config_file) == bool(args.json):
        parser.error("give --json and --images, or --config-file")
    if args.json and not args.images:
        parser.error("--json needs --images")
    return args


def draw_files(args: argparse.Namespace) -> None:
    """Draw annotations, and results beside them."""
    content = read_json(args.json)
    results = None if args.results is None else read_json(args.results)
    if results is not None and not isinstance(results, list):
        raise UserError(f"{args.results} must be a list of results")
    of_images = not is_video_file(content)
    with naming(args.json):
        content = images_as_videos(content) if of_images else content
        truth = None if results is None else load_ground_truth(content)
    if truth is not None:
        with naming(args.results):
            results = image_results_as_videos(results) if of_images else results
            results = load_results(results, truth).entries()
    with naming(args.json):
        viewer = DataViewer(content, args.images, results=results, min_score=args.score)
    unknown = [key for key in args.ids or () if key not in viewer.videos]
    if unknown:
        raise UserError(f"{args.json} has no video or image {unknown[0]}")
    chosen = (args.ids or list(viewer.videos))[: args.max]
    args.output.mkdir(parents=True, exist_ok=True)
    sheet = viewer.sheet(chosen, args.frames)
    write_image(args.output / SHEET, sheet, overwrite=args.overwrite)
    for video_id in chosen:
        viewer.write_video(video_id, args.output, fps=args.fps, overwrite=args.overwrite)
    print(f"{len(chosen)} of {len(viewer.videos)} drawn in {args.output}, see {SHEET}")


def draw_samples(args: argparse.Namespace) -> None:
    """Draw training samples as the network gets them."""
    # Nothing else here needs PyTorch.
    from mobileinst_d2.data import build_train_loader
    from mobileinst_d2.data.datasets.classes import dataset_class_names
    from mobileinst_d2.engine import setup_cfg
    from mobileinst_d2.structures import per_frame
    from mobileinst_d2.visualization import draw_truth

    cfg = setup_cfg(args.config_file, [*args.opts, "DATALOADER.NUM_WORKERS", "0"])
    names = dataset_class_names(cfg.DATASETS.TRAIN[0])
    batches = build_train_loader(cfg)
    rows = []
    for sample in itertools.islice(itertools.chain.from_iterable(batches), args.max):
        images, truths = per_frame(sample, "image"), per_frame(sample, "instances")
        rows.append(
            [
                draw_truth(image, truth, names, image_format=cfg.INPUT.FORMAT, mark="")
                for image, truth in zip(images, truths, strict=True)
            ]
        )
    args.output.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(rows):
        for frame, image in enumerate(row):
            path = args.output / f"sample_{number:03d}_{frame}.jpg"
            write_image(path, image, overwrite=args.overwrite)
    if all(len(row) == 1 for row in rows):
        flat = [row[0] for row in rows]
        rows = [flat[i : i + args.frames] for i in range(0, len(flat), args.frames)]
    write_image(args.output / SHEET, contact_sheet(rows), overwrite=args.overwrite)
    print(f"{len(rows)} rows of samples in {args.output / SHEET}")


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and draw."""
    args = parse_args(argv)
    (draw_samples if args.config_file else draw_files)(args)


if __name__ == "__main__":
    sys.exit(main())
