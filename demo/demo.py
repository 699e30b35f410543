#!/usr/bin/env python
"""Show what a trained model sees; the same as the command mobileinst-demo."""

import sys

from mobileinst_core.demo import main

if __name__ == "__main__":
    sys.exit(main())
