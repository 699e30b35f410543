"""Work that may crash the process, done in another one."""

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import mobileinst_core
from mobileinst_core.runtime.runners import ExportError

__all__ = ["run_graph_guarded", "run_guarded", "time_graphs_guarded"]

TIME_LIMIT = 600.0  # seconds
# Found where this process found it, from any folder.
_CODE = (
    "import json, sys; request = json.loads(sys.argv[1]); sys.path.insert(0, request['path']); "
    "from mobileinst_core.runtime import run_once, turns; "
    "sys.exit({'run_once': run_once, 'turns': turns}[request['work']].main(request))"
)


def run_guarded(
    command: Sequence[str], folder: str | Path, what: str, time_limit: float = TIME_LIMIT
) -> str:
    """Run a command that may crash or hang.

    Args:
        command: the program and its arguments.
        folder: the folder to run in.
        what: what is done, for errors.
        time_limit: seconds.

    Returns:
        What it printed.

    Raises:
        ExportError: it crashed, failed or did not end in time.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=time_limit,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"{what} did not end within {time_limit:g} seconds") from error
    if done.returncode:
        last = "\n".join(done.stdout.strip().splitlines()[-15:])
        raise ExportError(f"{what} {_ending(done.returncode)}{f':{chr(10)}{last}' if last else ''}")
    return done.stdout


def run_graph_guarded(
    runtime: str,
    folder: str | Path,
    graph: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    *,
    num_threads: int = 1,
    time_limit: float = TIME_LIMIT,
) -> dict[str, np.ndarray]:
    """Load a graph in a process of its own and run it once there.

    Args:
        runtime: name in ``RUNNERS``.
        folder: where the files of the graph are.
        graph: its description, see :class:`GraphRunner`.
        arrays: the inputs by name, float32.
        num_threads: CPU threads of the runtime.
        time_limit: seconds.

    Returns:
        The outputs by name.

    Raises:
        ExportError: the runtime crashed, refused the graph or did not end in time.
    """
    names = " and ".join(str(Path(folder) / name) for name in graph["files"])
    with tempfile.TemporaryDirectory(prefix="mobileinst_export_") as scratch:
        inputs, outputs = (Path(scratch) / name for name in ("inputs.npz", "outputs.npz"))
        np.savez(inputs, **arrays)
        request = {
            "work": "run_once",
            "inputs": str(inputs),
            "outputs": str(outputs),
            "runtime": runtime,
            "folder": str(Path(folder).resolve()),
            "graph": dict(graph),
            "num_threads": num_threads,
        }
        _in_other_process(request, scratch, f"{runtime} with {names}", time_limit)
        with np.load(outputs) as results:
            return {name: results[name] for name in graph["outputs"]}


def time_graphs_guarded(
    runtime: str,
    folder: str | Path,
    graphs: Mapping[str, Mapping[str, Any]],
    rounds: int,
    *,
    time_limit: float = TIME_LIMIT,
) -> dict[str, list[float]]:
    """Time graphs in a process of its own, where they take turns, on one thread.

    Args:
        runtime: name in ``RUNNERS``.
        folder: where their files are.
        graphs: their descriptions, see :class:`GraphRunner`, by any names; of the same inputs.
        rounds: how often each is run.
        time_limit: seconds.

    Returns:
        Seconds of CPU time of each call, by the names.

    Raises:
        ExportError: the runtime crashed, refused a graph or did not end in time.
    """
    with tempfile.TemporaryDirectory(prefix="mobileinst_export_") as scratch:
        outputs = Path(scratch) / "outputs.json"
        request = {
            "work": "turns",
            "outputs": str(outputs),
            "runtime": runtime,
            "folder": str(Path(folder).resolve()),
            "graphs": {name: dict(graph) for name, graph in graphs.items()},
            "rounds": rounds,
        }
        _in_other_process(request, scratch, f"{runtime} in {folder}", time_limit)
        return json.loads(outputs.read_text(encoding="utf-8"))


def _in_other_process(request: dict[str, Any], scratch: str, what: str, time_limit: float) -> None:
    """Have work of ``mobileinst_core.runtime`` done; raises what it says or how it ended."""
    error = Path(scratch) / "error.txt"
    request |= {"path": str(Path(mobileinst_core.__file__).parents[1]), "error": str(error)}
    command = [sys.executable, "-c", _CODE, json.dumps(request)]
    try:
        run_guarded(command, scratch, what, time_limit)
    except ExportError:
        if error.exists():  # it refused; otherwise it crashed
            raise ExportError(error.read_text(encoding="utf-8")) from None
        raise


def _ending(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"failed (exit status {code})"
    try:
        return f"crashed ({signal.Signals(-code).name})"
    except ValueError:
        return f"crashed (signal {-code})"
