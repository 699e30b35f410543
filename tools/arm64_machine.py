"""A 64-bit ARM Linux in user-mode emulation (QEMU): its Python, its C++ compiler, its programs.

Nothing is installed on the machine itself: Debian's AArch64 packages and the AArch64 wheels are
unpacked into a folder. Used by ``arm64_check.py``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from build_ncnn_example import VERSION

from mobileinst_core.errors import UserError
from mobileinst_core.install_detectron2 import say

__all__ = ["CROSS_COMPILER", "Arm64Python", "NotAvailableError", "emulator", "emulator_command"]

CROSS_COMPILER = "aarch64-linux-gnu-g++"
# Manylinux tags that the glibc of supported Debian and Ubuntu versions can run.
_PLATFORMS = [f"manylinux{tag}_aarch64" for tag in ("_2_28", "_2_27", "_2_24", "_2_17", "2014")]
_LIBRARIES = Path("usr", "lib", "aarch64-linux-gnu")


class NotAvailableError(UserError):
    """Something is not installed here without which nothing can be emulated."""


def emulator() -> str:
    """Path of QEMU's user-mode emulator.

    Raises:
        NotAvailableError: there is none.
    """
    for name in ("qemu-aarch64-static", "qemu-aarch64"):
        if path := shutil.which(name):
            return path
    raise NotAvailableError(
        "QEMU's user-mode emulator is missing: apt-get install qemu-user-static"
    )


def emulator_command(program: str | Path, *arguments: str | Path) -> list[str]:
    """The command that runs a program here that ``CROSS_COMPILER`` made.

    Raises:
        NotAvailableError: there is no emulator or no cross-compiler.
    """
    if shutil.which(CROSS_COMPILER) is None:
        raise NotAvailableError(
            f"{CROSS_COMPILER} is missing: apt-get install g++-aarch64-linux-gnu"
        )
    library = _run([CROSS_COMPILER, "-print-file-name=libstdc++.so.6"]).strip()
    root = Path(library).resolve().parents[1]
    return [emulator(), "-cpu", "max", "-L", str(root), str(program), *map(str, arguments)]


class Arm64Python:
    """An emulated Python with NumPy and ncnn.

    Attributes:
        folder: where it is.
    """

    def __init__(self, folder: Path) -> None:
        """Set it up in a folder, unless it is there.

        Raises:
            NotAvailableError: QEMU or apt-get are missing.
            UserError: packages cannot be fetched, or it does not run.
        """
        self.folder = folder.resolve()
        self._emulator = emulator()
        self._root, self._site = self.folder / "root", self.folder / "site"
        if not (self.folder / "ready").exists():
            self._fetch_system()
            self._fetch_wheels()
            self.run(["-c", "import numpy, ncnn"])
            (self.folder / "ready").touch()

    def run(self, arguments: Sequence[str], path: Sequence[Path] = ()) -> str:
        """Run Python in the emulator.

        Args:
            arguments: its command line.
            path: folders for ``PYTHONPATH``.

        Returns:
            What it printed.

        Raises:
            UserError: it failed.
        """
        python_path = os.pathsep.join(str(x) for x in [self._site, *path])
        options = ["-cpu", "max", "-L", str(self._root), "-E", f"PYTHONPATH={python_path}"]
        options += ["-E", f"LD_LIBRARY_PATH={self._root / _LIBRARIES}"]
        return _run([self._emulator, *options, str(self._python()), *arguments])

    def _python(self) -> Path:
        return next(iter(sorted((self._root / "usr" / "bin").glob("python3.*[0-9]"))))

    def _fetch_system(self) -> None:
        if not (shutil.which("apt-get") and shutil.which("dpkg")):
            raise NotAvailableError("apt-get and dpkg are missing: they fetch an AArch64 Python")
        say("fetching an AArch64 Python with apt-get")
        lists, packages = self.folder / "lists", self.folder / "packages"
        for place in (lists / "partial", packages / "partial", self._root):
            place.mkdir(parents=True, exist_ok=True)
        # Lists and state of their own: this machine's packages stay as they are.
        settings = {
            "APT::Architecture": "arm64",
            "APT::Architectures": "arm64",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "",
            "Debug::NoLocking": "true",
            "Dir::Cache": self.folder / "cache",
            "Dir::Cache::archives": packages,
            "Dir::State": self.folder / "state",
            "Dir::State::Lists": lists,
            "Dir::State::Status": "/dev/null",
        }
        (self.folder / "cache").mkdir(exist_ok=True)
        (self.folder / "state").mkdir(exist_ok=True)
        apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in settings.items())]
        _run([*apt, "update"])
        _run([*apt, "install", "--yes", "--download-only", "python3", "libgomp1", "libstdc++6"])
        for package in sorted(packages.glob("*.deb")):
            _run(["dpkg", "-x", str(package), str(self._root)])

    def _fetch_wheels(self) -> None:
        say("fetching the AArch64 wheels of NumPy and ncnn with pip")
        wheels = self.folder / "wheels"
        version = self._python().name.removeprefix("python")
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--implementation", "cp"]
        options += ["--python-version", version, "--dest", str(wheels)]
        for platform in _PLATFORMS:
            options += ["--platform", platform]
        pip = [sys.executable, "-m", "pip", "download", *options]
        _run([*pip, "numpy", f"ncnn=={VERSION}"])
        for wheel in wheels.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(self._site)


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise UserError(f"{' '.join(command[:3])} ... failed:\n{done.stdout[-3000:]}")
    return done.stdout
