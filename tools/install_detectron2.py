"""Installs Detectron2 unless a working one is there; ``--help`` says more.

The code is in mobileinst_core/install_detectron2.py.
"""

import sys
from pathlib import Path

# Before the project is installed, too, where this only builds a wheel for another machine.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from mobileinst_core.install_detectron2 import main

if __name__ == "__main__":
    sys.exit(main())
