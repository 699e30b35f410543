"""Looks at torch, torchvision and Detectron2 in a new process."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field

from detectron2_wheel import InstallError

# What a user of the package imports; together they load all that can fail.
PARTS = (
    "config",
    "data",
    "engine",
    "evaluation",
    "layers",
    "modeling",
    "structures",
    "checkpoint",
)

_REPORT = "environment report: "


@dataclass(frozen=True)
class Environment:
    """What a new Python process finds.

    Attributes:
        errors: what did not work -> the error; keys are "torch", "torchvision", "detectron2".
            Torch is checked first; what comes after a failure is not looked at.
        path: folder of the Detectron2 that is imported, None without one.
        version: version of the installed distribution it belongs to, None without one.
        compiled: whether its C++ operators load.
    """

    errors: dict[str, str] = field(default_factory=dict)
    path: str | None = None
    version: str | None = None
    compiled: bool = False

    @property
    def own_build(self) -> int | None:
        """Number of the build if this script made it, else None."""
        match = re.fullmatch(r"0\.6\+pure\.(\d+)", self.version or "")
        return int(match.group(1)) if match else None

    def describe(self) -> str:
        """One phrase for messages."""
        version = self.version or "from a source folder"
        operators = "with C++ operators" if self.compiled else "without C++ operators"
        return f"Detectron2 {version} ({operators}) at {self.path}"


def report_environment(marker: str, parts: Sequence[str]) -> None:
    """Prints what works in this process, as JSON lines; the last one counts.

    Its source is run in a new process, so it imports what it needs. Each step is announced before
    it is tried: a crash inside a library then still tells where it happened.

    Args:
        marker: begins each line of the report.
        parts: modules of Detectron2 to import.
    """
    import importlib
    import importlib.metadata
    import importlib.util
    import json
    import os

    report = {"step": "", "errors": {}, "path": None, "version": None, "compiled": False}

    def works(step, action):
        report["step"] = step
        print("\n" + marker + json.dumps(report), flush=True)
        try:
            action()
        except Exception as error:
            report["errors"][step] = f"{type(error).__name__}: {error}"
        return step not in report["errors"]

    def use_torchvision():
        import torch
        import torchvision

        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)

    def find_detectron2():
        spec = importlib.util.find_spec("detectron2")
        # A folder without __init__.py has no origin, and any real package goes before it.
        if spec is None or spec.origin is None:
            return
        report["path"] = os.path.dirname(spec.origin)
        try:
            distribution = importlib.metadata.distribution("detectron2")
            if os.path.samefile(distribution.locate_file("detectron2/__init__.py"), spec.origin):
                report["version"] = distribution.version
        except (importlib.metadata.PackageNotFoundError, OSError):
            pass  # a source folder on the path, or an editable installation

    def import_detectron2():
        for part in parts:
            importlib.import_module("detectron2." + part)
        try:
            importlib.import_module("detectron2._C")
            report["compiled"] = True
        except ImportError:
            pass

    if works("torch", lambda: importlib.import_module("torch")) and works(
        "torchvision", use_torchvision
    ):
        works("detectron2", find_detectron2)
        if report["path"]:
            works("detectron2", import_detectron2)
    report["step"] = "done"
    print("\n" + marker + json.dumps(report), flush=True)


def probe() -> Environment:
    """Looks at torch, torchvision and Detectron2 in a new process.

    The process starts in an empty folder, so that a folder ``detectron2`` in the current one is
    not taken for the installed package; ``PYTHONPATH`` counts as it does for the user.

    Raises:
        InstallError: if the process ends without a report.
    """
    code = (
        "from __future__ import annotations\n"
        f"{inspect.getsource(report_environment)}\n"
        f"report_environment({_REPORT!r}, {PARTS!r})\n"
    )
    variables = dict(os.environ)
    if variables.get("PYTHONPATH"):
        entries = filter(None, variables["PYTHONPATH"].split(os.pathsep))
        variables["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, entries))
    with tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=empty,
            env=variables,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith(_REPORT)]
    last_words = "\n".join(done.stderr.strip().splitlines()[-5:])
    if not lines:
        raise InstallError(f"Python could not be started (exit {done.returncode}): {last_words}")
    report = json.loads(lines[-1].removeprefix(_REPORT))
    step = report.pop("step")
    if done.returncode != 0 and step != "done":
        report["errors"].setdefault(
            step, f"the process ended with exit code {done.returncode}. {last_words}"
        )
    return Environment(**report)
