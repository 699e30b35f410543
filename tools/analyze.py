"""Print multiply-accumulates and parameters of a model, by module.

Example::

    python tools/analyze.py --config-file configs/mobileinst/mobileinst_topformer-b_coco.yaml
"""

import argparse

from detectron2.modeling import build_model
from tabulate import tabulate

from mobileinst_d2.benchmark import measure_cost
from mobileinst_d2.engine.setup import setup_cfg


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE", help="a yaml config")
    parser.add_argument(
        "--size",
        nargs=2,
        type=int,
        default=(640, 896),
        metavar=("H", "W"),
        help="padded input (default: 640 896, the paper's)",
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="config overrides: KEY VALUE ...")
    return parser.parse_args()


def main() -> None:
    """Build the model of the config and print what it costs."""
    args = parse_args()
    cfg = setup_cfg(args.config_file, [*args.opts, "MODEL.DEVICE", "cpu"])
    model = build_model(cfg)
    divisor = model.backbone.size_divisibility
    if any(side < divisor or side % divisor for side in args.size):
        raise SystemExit(f"error: --size takes multiples of {divisor}, got {args.size}")
    cost = measure_cost(model, tuple(args.size))
    rows = [
        (name, f"{macs / 1e9:.4f}", f"{params / 1e6:.4f}") for name, macs, params in cost.by_module
    ]
    rows.append(("total", f"{cost.macs / 1e9:.4f}", f"{cost.params / 1e6:.4f}"))
    height, width = args.size
    print(f"{args.config_file}: one image of 3x{height}x{width}, {cfg.MODEL.NUM_CLASSES} classes")
    print(
        tabulate(
            rows,
            headers=("module", "GMAC", "params (M)"),
            colalign=("left", "right", "right"),
            disable_numparse=True,
        )
    )


if __name__ == "__main__":
    main()
