"""Write a trained model for others: the weights of a checkpoint, without the optimizer.

Example::

    python tools/release_model.py --weights output/my/model_final.pth --output released/my.pth

The names of the classes go beside it, as metadata.json.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mobileinst_core.command import command
from mobileinst_d2.checkpoint.release import write_release


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, required=True, help="checkpoint of a training")
    parser.add_argument("--output", type=Path, required=True, help="file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    args = parser.parse_args(argv)
    size = write_release(args.weights, args.output, overwrite=args.overwrite)
    print(f"{args.output}: {size / 1e6:.1f} MB, from {args.weights.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(main())
