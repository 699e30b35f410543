"""What torch, torchvision and Detectron2 a new Python process finds, and whether they work."""

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field

from .errors import UserError

__all__ = ["Environment", "probe"]

# What a user of Detectron2 imports; together they load all that can fail. Each step is announced
# before it is tried: a crash inside of a library then still tells where it happened.
_REPORT = "environment report: "


_PROBE = """
import importlib, importlib.metadata, importlib.util, json, os

report = {{"step": "", "errors": {{}}, "path": None, "version": None, "compiled": False}}

def works(step, action):
    report["step"] = step
    print("\\n" + {marker!r} + json.dumps(report), flush=True)
    try:
        action()
    except Exception as error:
        report["errors"][step] = f"{{type(error).__name__}}: {{error}}"
    return step not in report["errors"]

def use_torchvision():
    import torch, torchvision
    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)

def find_detectron2():
    spec = importlib.util.find_spec("detectron2")
    if spec is None or spec.origin is None:  # a folder without __init__.py has no origin
        return
    report["path"] = os.path.dirname(spec.origin)
    try:
        distribution = importlib.metadata.distribution("detectron2")
        if os.path.samefile(distribution.locate_file("detectron2/__init__.py"), spec.origin):
            report["version"] = distribution.version
    except (importlib.metadata.PackageNotFoundError, OSError):
        pass  # a source folder on the path, or an editable installation

def import_detectron2():
    for part in "config data engine evaluation layers modeling structures checkpoint".split():
        importlib.import_module("detectron2." + part)
    try:
        importlib.import_module("detectron2._C")
        report["compiled"] = True
    except ImportError:
        pass

if works("torch", lambda: importlib.import_module("torch")):
    if works("torchvision", use_torchvision):
        works("detectron2", find_detectron2)
        if report["path"]:
            works("detectron2", import_detectron2)
report["step"] = "done"
print("\\n" + {marker!r} + json.dumps(report), flush=True)
"""


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

    def require_torch(self) -> None:
        """Stop unless torch and torchvision work together.

        Raises:
            UserError: with what to do.
        """
        if error := self.errors.get("torch"):
            raise UserError(
                f"torch cannot be imported ({error}). Install the project and its dependencies "
                "first: pip install -e . -c constraints.txt"
            )
        if error := self.errors.get("torchvision"):
            raise UserError(
                f"torchvision does not work with the installed torch ({error}). Usually it is "
                "missing, or the two come from different builds (CPU and CUDA, or versions that do "
                "not belong together): install both from one place, in one command."
            )

    def require_working(self) -> None:
        """Stop if the Detectron2 that is there does not work.

        Raises:
            UserError: with the import error.
        """
        if error := self.errors.get("detectron2"):
            raise UserError(
                f"{self.path} is a Detectron2 that does not work: {error}. It was not touched. "
                "Repair it, or remove it (`pip uninstall detectron2`) and run this again."
            )


def probe() -> Environment:
    """Look at torch, torchvision and Detectron2 in a new process.

    The process starts in an empty folder, so that a folder ``detectron2`` in the current one is not
    taken for the installed package; ``PYTHONPATH`` counts as it does for the user.

    Raises:
        UserError: the process ends without a report.
    """
    variables = dict(os.environ)
    if variables.get("PYTHONPATH"):
        entries = filter(None, variables["PYTHONPATH"].split(os.pathsep))
        variables["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, entries))
    with tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE.format(marker=_REPORT)],
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
        raise UserError(f"Python could not be started (exit {done.returncode}): {last_words}")
    report = json.loads(lines[-1].removeprefix(_REPORT))
    step = report.pop("step")
    if done.returncode != 0 and step != "done":
        report["errors"].setdefault(
            step, f"the process ended with exit code {done.returncode}. {last_words}"
        )
    return Environment(**report)
