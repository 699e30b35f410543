"""An environment in which mobileinst_core is installed, and PyTorch is not."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement


class TorchFreePython:
    """The Python of such an environment."""

    def __init__(self, folder: Path, repository: Path, extra: str) -> None:
        """Make the environment and install the package, without a network.

        What the package requires is linked from the environment of the tests.

        Args:
            folder: an empty folder.
            repository: the root of the project.
            extra: the extra of the package that is wanted, too.
        """
        self._folder = folder
        venv.create(folder / "env", with_pip=False, symlinks=True)
        self.executable = folder / "env" / "bin" / "python"
        where = "import sysconfig; print(sysconfig.get_path('purelib'))"
        site = Path(self.run("-c", where).stdout.strip())
        # A copy, as builds leave files in the folder that they are made from.
        source = folder / "mobileinst_core"
        shutil.copytree(repository / "mobileinst_core", source, ignore=_no_caches)
        command = (*_pip(), "--no-deps", "--no-build-isolation", "--no-index")
        subprocess.run([*command, "--target", str(site), str(source)], check=True)
        (installed,) = importlib.metadata.distributions(name="mobileinst_core", path=[str(site)])
        for distribution in _required(installed, {extra}, set()):
            _link(distribution, site)

    def run(self, *arguments: str | Path, check: bool = True, **variables: str):
        """Run Python.

        Args:
            *arguments: of the command line.
            check: that the exit status is 0.
            **variables: to add to the environment.

        Returns:
            The completed process with its output as text.
        """
        inherited = {name: v for name, v in os.environ.items() if not name.startswith("PYTHON")}
        run = subprocess.run(
            [str(self.executable), *map(str, arguments)],
            cwd=self._folder,
            env=inherited | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or run.returncode == 0, run.stderr
        return run


def _no_caches(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name in ("__pycache__", "build") or "egg-info" in name}


def _pip() -> tuple[str, ...]:
    for name in ("pip", "setuptools"):
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{name}, which installs the package, is not installed")
    return (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")


def _required(
    distribution: Distribution, extras: set[str], known: set[str]
) -> Iterator[Distribution]:
    """What a distribution requires, and what that does."""
    for text in distribution.requires or ():
        requirement = Requirement(text)
        marker, name = requirement.marker, requirement.name.lower()
        is_wanted = marker is None or any(marker.evaluate({"extra": e}) for e in ("", *extras))
        if not is_wanted or name in known:
            continue
        known.add(name)
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{name}, which the package requires, is not installed here")
        yield found
        yield from _required(found, requirement.extras, known)


def _link(distribution: Distribution, site: Path) -> None:
    """Link the files of a distribution."""
    for name in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
        if not (site / name).exists():
            (site / name).symlink_to(Path(distribution.locate_file(name)).resolve())
