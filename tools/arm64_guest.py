"""Runs graphs for ncnn on images; `arm64_check.py` starts it inside of the emulator."""

import argparse
import json
from pathlib import Path

import numpy as np

from mobileinst_core.runtime.runners import NcnnRunner


def main() -> None:
    """Run a graph per image and save all outputs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "request",
        type=Path,
        metavar="FILE",
        help="JSON with folder, graphs (as in model.json), names (of the graph for each image), "
        "images and outputs (.npz files), half_precision",
    )
    request = json.loads(parser.parse_args().request.read_text(encoding="utf-8"))
    NcnnRunner.half_precision = request["half_precision"]
    loaded = {}
    runners = {
        name: NcnnRunner(request["folder"], request["graphs"][name], loaded=loaded)
        for name in set(request["names"])
    }
    results = {}
    with np.load(request["images"]) as images:
        for number, name in enumerate(request["names"]):
            outputs = runners[name](images[str(number)])
            results.update({f"{number}.{key}": value for key, value in outputs.items()})
    np.savez(request["outputs"], **results)


if __name__ == "__main__":
    main()
