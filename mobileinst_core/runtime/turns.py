"""Times graphs that take turns, in a process of its own, as an export does to choose among them."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .runners import RUNNERS, ExportError

__all__ = ["main"]


def main(request: Mapping[str, Any]) -> int:
    """Load graphs, run one after the other, round after round.

    Args:
        request: ``runtime``, ``folder``, ``graphs`` by name, ``rounds`` (one more comes before, to
            warm up), and the paths ``outputs`` (to write: JSON with the seconds of CPU time of each
            call, by name) and ``error``.

    Returns:
        The exit status: 0, or 1 if the runtime refused a graph, with the reason in ``error``.
    """
    try:
        runners = {
            name: RUNNERS[request["runtime"]](request["folder"], graph)
            for name, graph in request["graphs"].items()
        }
        shapes = next(iter(runners.values())).inputs.values()
        generator = np.random.default_rng(0)
        arrays = [255 * generator.random(shape, dtype=np.float32) for shape in shapes]
        times: dict[str, list[float]] = {name: [] for name in runners}
        for number in range(request["rounds"] + 1):
            for name, runner in runners.items():
                start = time.process_time()
                runner(*arrays)
                if number:
                    times[name].append(time.process_time() - start)
    except ExportError as failure:
        Path(request["error"]).write_text(str(failure), encoding="utf-8")
        return 1
    Path(request["outputs"]).write_text(json.dumps(times), encoding="utf-8")
    return 0
