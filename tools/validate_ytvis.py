"""The former name of validate_data.py, which checks COCO files too."""

import sys

from validate_data import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
