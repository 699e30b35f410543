"""Lets the tests import the scripts in ``benchmarks/``, which are no package."""

import sys
from pathlib import Path

# At the end, so that no script there can hide an installed module.
sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
