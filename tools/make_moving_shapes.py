"""Generate the moving-shapes data set: training and validation videos with exact masks.

Example:
    python tools/make_moving_shapes.py --output datasets/moving_shapes --num-videos 120
"""

import argparse
import inspect
import sys
from pathlib import Path

from mobileinst_core.command import command
from mobileinst_core.ytvis.moving_shapes import DIFFICULTIES, make_moving_shapes


@command
def main() -> None:
    """Parse the command line and generate."""
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(make_moving_shapes).parameters.items()
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    for name, text in (
        ("num_videos", "training videos"),
        ("num_val_videos", "validation videos (default: a quarter of the training videos)"),
        ("num_frames", "frames per video"),
        ("height", "frame height in pixels"),
        ("width", "frame width in pixels"),
        ("max_instances", "largest number of objects in a video"),
        ("seed", "the same seed gives the same files"),
    ):
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, dest=name, type=int, default=defaults[name], help=text)
    parser.add_argument(
        "--difficulty",
        choices=DIFFICULTIES,
        default=defaults["difficulty"],
        help="hard: objects that look alike, long occlusions and a moving camera (default: easy)",
    )
    arguments = vars(parser.parse_args())
    try:
        output = make_moving_shapes(arguments.pop("output"), **arguments)
    except ValueError as error:
        parser.error(str(error))
    print(f"Wrote {output}/{{train,val}}: instances.json (YouTube-VIS), coco.json, JPEGImages")


if __name__ == "__main__":
    sys.exit(main())
