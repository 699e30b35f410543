"""``python -m mobileinst_core``: the environment, for bug reports, without PyTorch."""

import sys

from .environment import describe_environment

if __name__ == "__main__":
    for name, text in describe_environment():
        sys.stdout.write(f"{name:24}{text}\n")
