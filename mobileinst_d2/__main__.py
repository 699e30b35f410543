"""``python -m mobileinst_d2``: the environment, for bug reports."""

import sys

from detectron2.utils.collect_env import collect_env_info
from tabulate import tabulate

from mobileinst_core.environment import describe_environment

if __name__ == "__main__":
    rows = describe_environment(["torch", "torchvision", "timm", "detectron2", "fvcore", "iopath"])
    sys.stdout.write(f"{tabulate(rows)}\n{collect_env_info()}\n")
