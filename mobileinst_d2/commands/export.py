"""Export a trained model for a phone: one folder with a file per graph, checked against PyTorch.

The folder holds the graphs, model.json (what they take and give) and config.yaml, and can be used
in place of a model by mobileinst-demo and mobileinst-train. See docs/deployment.md.

Example::

    mobileinst-export --config-file mobileinst/mobileinst_topformer-b_ytvis19.yaml \\
        --weights output/model_final.pth --size 384 640 --format ncnn --output exported
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from detectron2.utils.logger import setup_logger

from mobileinst_core.arguments import whole_number
from mobileinst_core.command import command, tidy_up_on_termination
from mobileinst_core.errors import ConfigError
from mobileinst_d2.engine import setup_cfg
from mobileinst_d2.engine.predictor import load_predictor
from mobileinst_d2.export import (
    INT8_RUNTIMES,
    WRITERS,
    check_output_dir,
    export_model,
    require_writer,
)
from mobileinst_d2.modeling import InstanceSegmentor

from .calibration import calibration_frames, split_frames


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE", help="the config of the model")
    add("--weights", metavar="FILE", help="trained weights (default: MODEL.WEIGHTS of the config)")
    add(
        "--size",
        required=True,
        nargs=2,
        type=whole_number(1),
        metavar=("H", "W"),
        help="input size in pixels, multiples of what the model asks for (most: 64)",
    )
    add("--format", required=True, choices=WRITERS, help="the runtime to export for")
    add(
        "--graphs",
        nargs="+",
        default=(),
        metavar="NAME",
        help="graphs to export: keyframe and reuse (default: both, for images and videos; keyframe "
        "alone tracks with TEST.TRACKING.CLIP_LEN 1), image (single images, with their masks)",
    )
    add("--output", required=True, type=Path, metavar="DIR", help="folder to make")
    add("--overwrite", action="store_true", help="replace DIR if it is an exported folder")
    add("--fp16", action="store_true", help="store weights in half precision: half the space")
    add("--int8", action="store_true", help="quantise the convolutions (onnx, openvino)")
    add(
        "--calibration",
        metavar="SOURCE",
        help="typical images: a registered data set, a folder or a video",
    )
    add(
        "--calibration-images",
        type=whole_number(1),
        default=64,
        metavar="N",
        help="number of its images or frames to take, spread over it (default: %(default)s)",
    )
    add("opts", nargs=argparse.REMAINDER, help="config overrides: KEY VALUE ...")
    return parser.parse_args(argv)


def export(args: argparse.Namespace) -> None:
    """Check what can be checked at once, load the model, export it."""
    if args.int8 != bool(args.calibration):
        raise ConfigError("--int8 and --calibration SOURCE go together.")
    if args.int8 and args.fp16:
        raise ConfigError("--int8 and --fp16 are two ways to store weights: choose one.")
    if args.int8 and args.format not in INT8_RUNTIMES:
        raise ConfigError(f"--int8 is for --format {' and '.join(INT8_RUNTIMES)}.")
    require_writer(args.format)
    check_output_dir(args.output, overwrite=args.overwrite)
    cfg = setup_cfg(args.config_file, args.opts)
    cfg.MODEL.DEVICE = "cpu"
    if args.weights:
        cfg.MODEL.WEIGHTS = args.weights
    model = load_predictor(cfg).model
    if not isinstance(model, InstanceSegmentor):
        raise ConfigError(f"{cfg.MODEL.META_ARCHITECTURE} cannot be exported.")
    size = tuple(args.size)
    if not model.stretches_images:
        cfg.INPUT.FIXED_SIZE_TEST = size
    options = {
        "graphs": args.graphs,
        "overwrite": args.overwrite,
        "half_weights": args.fp16,
    }
    if args.int8:
        count = args.calibration_images
        # One more for each eight, to compare the result on.
        frames = calibration_frames(cfg, args.calibration, count + max(1, count // 8))
        options["calibration"], options["held_out"] = split_frames(frames)
    try:
        export_model(model, cfg, size, args.format, args.output, **options)
    except ValueError as error:  # a size that does not suit the model
        raise ConfigError(str(error)) from error


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and export.

    Args:
        argv: arguments after the program's name; by default those of the process.
    """
    args = parse_args(argv)
    setup_logger(name="mobileinst_d2")
    tidy_up_on_termination()
    export(args)
    print(f"{args.output}: exported for {args.format}")  # noqa: T201
