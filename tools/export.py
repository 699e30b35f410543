"""Export a trained model for a phone: one folder with a file per graph, checked against PyTorch.

The folder holds the graphs, model.json (what they take and give) and config.yaml, and can be used
in place of a model by demo/demo.py and train_net.py. See docs/export.md.

Example::

    python tools/export.py --config-file configs/mobileinst/mobileinst_topformer-b_ytvis19.yaml \\
        --weights output/model_final.pth --size 384 640 --format ncnn --output exported
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from detectron2.utils.logger import setup_logger

from mobileinst_d2.engine import CheckpointError, ConfigError, setup_cfg
from mobileinst_d2.engine.predictor import load_predictor
from mobileinst_d2.export import RUNTIMES, ExportError, check_output_dir, export_model, require
from mobileinst_d2.utils.arguments import whole_number


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
        help="input size in pixels, multiples of 64",
    )
    add("--format", required=True, choices=RUNTIMES, help="the runtime to export for")
    add("--output", required=True, type=Path, metavar="DIR", help="folder to make")
    add("--overwrite", action="store_true", help="replace DIR if it is an exported folder")
    add("opts", nargs=argparse.REMAINDER, help="config overrides: KEY VALUE ...")
    return parser.parse_args(argv)


def export(args: argparse.Namespace) -> None:
    """Check what can be checked at once, load the model, export it."""
    require(args.format, to_export=True)
    check_output_dir(args.output, overwrite=args.overwrite)
    cfg = setup_cfg(args.config_file, args.opts)
    cfg.MODEL.DEVICE = "cpu"
    if args.weights:
        cfg.MODEL.WEIGHTS = args.weights
    model = load_predictor(cfg).model
    if not hasattr(model, "export_graphs"):
        raise ConfigError(f"{cfg.MODEL.META_ARCHITECTURE} cannot be exported.")
    export_model(model, cfg, tuple(args.size), args.format, args.output, overwrite=args.overwrite)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and export."""
    args = parse_args(argv)
    setup_logger(name="mobileinst_d2")
    # As Ctrl-C does, so that nothing is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        export(args)
    except (CheckpointError, ExportError, OSError, ValueError) as error:
        sys.exit(f"export: {error}")
    except KeyboardInterrupt:
        sys.exit("export: interrupted; nothing was written")
    print(f"{args.output}: exported for {args.format}")


if __name__ == "__main__":
    main()
