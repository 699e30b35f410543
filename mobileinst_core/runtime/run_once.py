"""Runs a graph once in a process of its own, as an export does with what it has written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .runners import RUNNERS, ExportError

__all__ = ["main"]


def main(request: Mapping[str, Any]) -> int:
    """Load a graph, run it, save what it gives.

    Args:
        request: ``runtime``, ``folder``, ``graph`` and ``num_threads`` as a runner takes them, and
            the paths ``inputs`` (to read), ``outputs`` and ``error`` (to write).

    Returns:
        The exit status: 0, or 1 if the runtime refused the graph, with the reason in ``error``.
    """
    try:
        runner = RUNNERS[request["runtime"]](
            request["folder"], request["graph"], request["num_threads"]
        )
        with np.load(request["inputs"]) as arrays:
            outputs = runner(*(arrays[name] for name in runner.inputs))
    except ExportError as failure:
        Path(request["error"]).write_text(str(failure), encoding="utf-8")
        return 1
    np.savez(request["outputs"], **outputs)
    return 0
