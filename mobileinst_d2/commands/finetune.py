"""Train on a small data set of one's own: ``mobileinst-finetune``, and ``tools/finetune.py``.

What depends on the data is decided from the data, said in the log and given to the command
``mobileinst-train``, as config keys.
"""

import argparse
import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from mobileinst_core.coco.videos import images_as_videos, is_video_file
from mobileinst_core.command import command
from mobileinst_core.errors import ConfigError, UserError, naming
from mobileinst_core.files import read_json, write_json
from mobileinst_core.ytvis.split import split_videos
from mobileinst_d2.data.datasets import keep_records
from mobileinst_d2.data.datasets.classes import dataset_class_names
from mobileinst_d2.engine import setup_cfg
from mobileinst_d2.engine.finetune import Plan, plan_training, summarize_data

from . import train

__all__ = ["main", "plan_command", "shell_line"]

logger = logging.getLogger(__name__)

_EXAMPLES = """
Videos in the YouTube-VIS format, images in the COCO format; a fifth is held out for validation:
    $ mobileinst-finetune --train my/train.json my/JPEGImages --output output/my
With a validation set, another learning rate, and backbone weights from a file:
    $ mobileinst-finetune --train my/train.json my/train --val my/val.json my/val \\
        --output output/my SOLVER.BASE_LR 0.0002 MODEL.BACKBONE.WEIGHTS mobilenetv2_100.pth
In a clone of the project, `python tools/finetune.py` takes the place of mobileinst-finetune.
"""
# Names of the data sets in the config.
_TRAIN, _VAL = "finetune_train", "finetune_val"
# Fewer videos or images are not parted: one of them would say nothing.
_MIN_TO_SPLIT = 5


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    pair = {"nargs": 2, "metavar": ("JSON", "IMAGES"), "type": Path}
    parser.add_argument("--train", required=True, help="annotation file, folder of images", **pair)
    parser.add_argument("--val", help="the same for validation", **pair)
    parser.add_argument(
        "--val-fraction",
        type=float,
        default=0.2,
        help="part of --train that is held out without --val; 0 = none (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="OUTPUT_DIR")
    parser.add_argument(
        "--config-file", help="by default finetune/video.yaml or finetune/image.yaml"
    )
    parser.add_argument("--num-gpus", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--plan-only", action="store_true", help="say the plan and train nothing")
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, help="config overrides KEY VALUE ..., taken as they are"
    )
    return parser.parse_args(argv)


def plan_command(args: argparse.Namespace) -> tuple[list[str], Plan]:
    """Look at the data and plan the training.

    Returns:
        Arguments for `train.invoke_main`, and the plan; UserError if a file or an option cannot be
        used.
    """
    sets = {_TRAIN: args.train}
    content = _read(args.train[0])
    if args.val:
        if is_video_file(_read(args.val[0])) != is_video_file(content):
            raise UserError(
                f"{args.train[0]} and {args.val[0]} are of different kinds, videos and images"
            )
        sets[_VAL] = args.val
    notes = []
    if not args.val and args.val_fraction > 0:
        sets |= _hold_out(args, content)
    overrides: dict[str, Any] = {
        "DATASETS.CUSTOM": [
            {
                "NAME": name,
                "FORMAT": "ytvis" if is_video_file(content) else "coco",
                "JSON": str(json_file.resolve()),
                "IMAGE_ROOT": str(images.resolve()),
            }
            for name, (json_file, images) in sets.items()
        ],
        "DATASETS.TRAIN": (_TRAIN,),
        "DATASETS.TEST": (_VAL,) if _VAL in sets else (),
        "OUTPUT_DIR": str(args.output),
    }
    if _VAL not in sets:
        notes.append(
            "there is no validation set: nothing tells when the training set is memorised, "
            "and no best checkpoint is kept. Give --val, or more data."
        )
    kind = "video" if is_video_file(content) else "image"
    recipe = args.config_file or f"finetune/{kind}.yaml"
    cfg = setup_cfg(recipe, [*_flatten(overrides), *args.opts])
    for name in (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN):
        records = DatasetCatalog.get(name)
        notes += _check_records(records, *sets[name], in_training=name == _TRAIN)
    data = summarize_data(records, dataset_class_names(_TRAIN))
    keep_records(_TRAIN, records)  # for the training
    plan = plan_training(cfg, data, chosen=args.opts[::2], num_processes=args.num_gpus)
    plan.warnings.extend(notes)
    opts = [*_flatten(overrides | plan.overrides), *args.opts]
    # The line that a user is shown: names of configs as they are, and no option for one process.
    processes = ["--num-gpus", str(args.num_gpus)] if args.num_gpus > 1 else []
    return ["--config-file", recipe, *processes, *opts], plan


def _check_records(
    records: Sequence[dict], json_file: Path, images: Path, *, in_training: bool
) -> list[str]:
    """Look for every image and for objects, before hours of training end at what is missing.

    Returns:
        What is to be warned of; UserError if nothing can be done with the data.
    """
    files = [f for record in records for f in record.get("file_names") or [record["file_name"]]]
    missing = [file for file in files if not Path(file).is_file()]
    some = f"{len(missing)} of {len(files)} images of {json_file} are not in {images}"
    if missing and (len(missing) == len(files) or not in_training):
        raise UserError(f"{some}, such as {missing[0]}. File names are relative to that folder")
    if not any(record.get("tracks") or record.get("annotations") for record in records):
        raise UserError(f"{json_file} has no object to {'learn' if in_training else 'find'}")
    return [f"{some}, such as {missing[0]}: they are left out."] if missing else []


def _read(path: Path) -> dict:
    content = read_json(path)
    if not isinstance(content, dict) or not {"videos", "images"} & content.keys():
        raise UserError(
            f"{path} has neither 'videos' nor 'images': it must be in the YouTube-VIS or the COCO "
            "format. tools/to_ytvis.py converts from other formats"
        )
    return content


def _hold_out(args: argparse.Namespace, content: dict) -> dict[str, tuple[Path, Path]]:
    """Part the training file in two, in OUTPUT_DIR; nothing where there is too little."""
    json_file, images = args.train
    unit = "videos" if is_video_file(content) else "images"
    if not isinstance(content[unit], list) or len(content[unit]) < _MIN_TO_SPLIT:
        return {}
    with naming(json_file):
        split = split_videos if unit == "videos" else _split_images
        parts = split(content, val_fraction=args.val_fraction)
    paths = [args.output / "data" / f"{name}.json" for name in ("train", "val")]
    for path, part in zip(paths, parts, strict=True):
        write_json(path, part)
    counts = " and ".join(str(len(part[unit])) for part in parts)
    logger.info("%s: %s %s for training and validation.", paths[0].parent, counts, unit)
    return {_TRAIN: (paths[0], images), _VAL: (paths[1], images)}


def _split_images(content: dict, *, val_fraction: float) -> tuple[dict, dict]:
    """Part a COCO file as `split_videos` does, where an image counts as a video of one frame."""
    parts = split_videos(images_as_videos(content), val_fraction=val_fraction)
    ids = [{video["id"] for video in part["videos"]} for part in parts]
    return tuple(
        {
            **content,
            "images": [image for image in content["images"] if image["id"] in kept],
            "annotations": [x for x in content["annotations"] if x["image_id"] in kept],
        }
        for kept in ids
    )


def shell_line(arguments: Sequence[str]) -> str:
    """Arguments as a line for a shell, readable: strings in lists and mappings get double quotes.

    Others, such as paths with an apostrophe, stay as they are.
    """
    return shlex.join(
        x.replace("'", '"') if x[:1] in ("[", "(", "{") and '"' not in x else x for x in arguments
    )


def _flatten(overrides: dict[str, Any]) -> list[str]:
    return [str(x) for pair in overrides.items() for x in pair]


@command
def main(argv: Sequence[str] | None = None) -> int | None:
    """Parse the command line, plan and train.

    Args:
        argv: arguments after the program's name; by default those of the process.

    Returns:
        What `train.invoke_main` returns.
    """
    args = parse_args(argv)
    if not 0 <= args.val_fraction < 1:
        raise ConfigError(f"--val-fraction must lie in [0, 1), not {args.val_fraction:g}")
    if args.num_gpus < 1:
        raise ConfigError(f"--num-gpus must be at least 1, not {args.num_gpus}")
    # As the training does it: another way would give it a second handler.
    output = None if args.plan_only else str(args.output)
    setup_logger(output, distributed_rank=comm.get_rank(), name="mobileinst_d2")
    arguments, plan = plan_command(args)
    for reason in plan.reasons:
        logger.info("%s.", reason)
    for warning in plan.warnings:
        logger.warning("%s", warning)
    logger.info("The same training: mobileinst-train %s", shell_line(arguments))
    return None if args.plan_only else train.invoke_main(arguments)
