"""Installs Detectron2 unless a working one is there.

A Detectron2 that works is never touched. Otherwise release 0.6 is fetched with pip as a source
archive, checked against its SHA-256, adapted to current libraries (``detectron2_edits.py``), packed
into a pure-Python wheel and installed. Neither a compiler nor GitHub is needed.

    python tools/install_detectron2.py                 install if needed
    python tools/install_detectron2.py --check         only say what is there
    python tools/install_detectron2.py --wheel DIR     only build the wheel, for another machine
    python tools/install_detectron2.py --sdist FILE    use a source archive that was fetched before
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.machinery
import os
import string
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from detectron2_edits import BUILD, RECIPE
from detectron2_probe import Environment, probe
from detectron2_wheel import InstallError, Recipe, SourceArchive, build_wheel

OFFICIAL = "pip install --no-build-isolation git+https://github.com/facebookresearch/detectron2"

# pip asks a source archive for its metadata, which would run its setup.py: that needs torch, looks
# for compilers, and declares a dependency by address, which pip refuses since 26.3. This build
# backend stands before the real one on the path and answers with a name and a version, so that
# nothing of an archive runs before its content is checked.
_BACKEND = '''\
"""Stands in for setuptools.build_meta while pip fetches a source archive."""

import os


class _Backend:
    def get_requires_for_build_wheel(self, config_settings=None):
        return []

    def prepare_metadata_for_build_wheel(self, metadata_directory, config_settings=None):
        os.makedirs(os.path.join(metadata_directory, "$folder"))
        with open(os.path.join(metadata_directory, "$folder", "METADATA"), "w") as file:
            file.write("Metadata-Version: 2.1\\nName: $name\\nVersion: $version\\n")
        return "$folder"


__legacy__ = _Backend()  # for archives without a pyproject.toml
get_requires_for_build_wheel = __legacy__.get_requires_for_build_wheel
prepare_metadata_for_build_wheel = __legacy__.prepare_metadata_for_build_wheel
'''


def require_torch(environment: Environment) -> None:
    """Stops unless torch and torchvision work together.

    Raises:
        InstallError: with what to do.
    """
    error = environment.errors.get("torch")
    if error is not None:
        raise InstallError(
            f"torch cannot be imported ({error}). Install the project and its dependencies first: "
            "pip install -e . -c constraints.txt"
        )
    error = environment.errors.get("torchvision")
    if error is not None:
        raise InstallError(
            f"torchvision does not work with the installed torch ({error}). Usually it is missing, "
            "or the two come from different builds (CPU and CUDA, or versions that do not belong "
            "together): install both from one place, in one command."
        )


def require_working(environment: Environment) -> None:
    """Stops if the Detectron2 that is there does not work.

    Raises:
        InstallError: with the import error.
    """
    error = environment.errors.get("detectron2")
    if error is not None:
        raise InstallError(
            f"{environment.path} is a Detectron2 that does not work: {error}. It was not touched. "
            "Repair it, or remove it (`pip uninstall detectron2`) and run this again."
        )


def say(message: str) -> None:
    """Prints at once, so that the message stands before what pip prints after it."""
    print(message, flush=True)


def has_pip() -> bool:
    """Whether this Python has pip."""
    # Not importlib.util.find_spec: setuptools' import hook takes that for a start of pip, and
    # setuptools itself can no longer be imported in this process.
    return importlib.machinery.PathFinder.find_spec("pip") is not None


def run_pip(*arguments: str, **variables: str) -> bool:
    """Runs pip of this Python, with the user's configuration and its output on the terminal.

    Args:
        *arguments: the command line.
        **variables: environment variables to add.

    Returns:
        Whether pip succeeded.

    Raises:
        InstallError: if this Python has no pip.
    """
    if not has_pip():
        raise InstallError(
            f"{sys.executable} has no pip. Add it with `python -m ensurepip` or with the tool "
            "that made this environment; or build the wheel elsewhere with --wheel DIR and "
            "install that."
        )
    command = [sys.executable, "-m", "pip", arguments[0], "--disable-pip-version-check"]
    done = subprocess.run([*command, *arguments[1:]], env={**os.environ, **variables}, check=False)
    return done.returncode == 0


def fetch_sdist(recipe: SourceArchive) -> bytes:
    """Fetches the source archive from the user's package registry.

    pip does it, because it knows the user's registry, proxy, certificates and cache. Nothing of
    the archive is executed.

    Args:
        recipe: names the archive and its SHA-256.

    Returns:
        Content of the archive.

    Raises:
        InstallError: if pip cannot get exactly this archive.
    """
    with tempfile.TemporaryDirectory() as folder:
        backend = Path(folder, "backend", "setuptools")
        backend.mkdir(parents=True)
        (backend / "__init__.py").touch()
        text = string.Template(_BACKEND).substitute(
            name=recipe.source,
            version=recipe.source_version,
            folder=f"{recipe.source.replace('-', '_')}-{recipe.source_version}.dist-info",
        )
        (backend / "build_meta.py").write_text(text, encoding="utf-8")
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(
            f"{recipe.source}=={recipe.source_version} --hash=sha256:{recipe.sha256}\n",
            encoding="utf-8",
        )
        target = Path(folder, "download")
        search_path = [str(backend.parent), os.environ.get("PYTHONPATH", "")]
        fetched = run_pip(
            *("download", "--quiet", "--no-deps", "--no-build-isolation", "--use-pep517"),
            *("--no-binary", recipe.source, "--require-hashes", "--dest", str(target)),
            *("--requirement", str(requirements)),
            PYTHONPATH=os.pathsep.join(filter(None, search_path)),
        )
        if not fetched:
            raise InstallError(
                f"pip could not fetch {recipe.source}=={recipe.source_version} (its messages stand "
                "above); nothing was installed. Without a package registry, build the wheel on "
                "another machine with --wheel DIR, or give the source archive with --sdist FILE. "
                f"Or install the official source: {OFFICIAL}"
            )
        (archive,) = target.iterdir()
        return archive.read_bytes()


def get_sdist(file: Path | None, recipe: Recipe) -> bytes:
    """Reads the source archive from a file, or fetches it without one.

    Args:
        file: a source archive, or None.
        recipe: names the archive to fetch.

    Returns:
        Content of the archive.

    Raises:
        InstallError: if there is no such file, or it cannot be fetched.
    """
    if file is None:
        say(f"fetching {recipe.source}=={recipe.source_version}")
        return fetch_sdist(recipe)
    try:
        return file.read_bytes()
    except OSError as error:
        raise InstallError(f"cannot read {file}: {error.strerror}") from error


def save_wheel(folder: Path, sdist: Path | None, recipe: Recipe = RECIPE) -> Path:
    """Builds the wheel into a folder.

    Args:
        folder: where the wheel goes; made when missing.
        sdist: a source archive, or None to fetch it.
        recipe: what to build.

    Returns:
        Path of the wheel.

    Raises:
        InstallError: if it cannot be built or written.
    """
    content = build_wheel(get_sdist(sdist, recipe), recipe, origin=str(sdist or recipe.source))
    path = folder / recipe.wheel_name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise InstallError(f"cannot write {path}: {error.strerror}") from error
    say(f"built {recipe.wheel_name}, SHA-256 {hashlib.sha256(content).hexdigest()}")
    return path


def install(sdist: Path | None) -> None:
    """Installs Detectron2 unless a working one is there.

    Args:
        sdist: a source archive, or None to fetch it.

    Raises:
        InstallError: if it cannot be installed, or the installed one does not work.
    """
    environment = probe()
    require_torch(environment)
    outdated = environment.own_build is not None and environment.own_build < BUILD
    if environment.path and not outdated:
        require_working(environment)
        say(f"found {environment.describe()}: it works and is left as it is")
        return
    if outdated:
        say(f"found {environment.describe()}, made by an older version of this script: updating")
    with tempfile.TemporaryDirectory() as folder:
        if not run_pip("install", str(save_wheel(Path(folder), sdist))):
            raise InstallError(
                "pip could not install the wheel (its messages stand above). Without a package "
                "registry, what Detectron2 depends on must be installed first."
            )
    environment = probe()
    require_torch(environment)
    if not environment.path:
        raise InstallError("Detectron2 was installed, but this Python does not find it.")
    error = environment.errors.get("detectron2")
    if error is not None:
        raise InstallError(f"installed {environment.describe()}, but it does not work: {error}")
    say(f"installed {environment.describe()}: it works")


def check() -> None:
    """Says what is there and changes nothing.

    Raises:
        InstallError: if there is no working Detectron2.
    """
    environment = probe()
    require_torch(environment)
    if not environment.path:
        raise InstallError("there is no Detectron2. Run this script without --check to install it.")
    require_working(environment)
    say(f"found {environment.describe()}: it works")


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="only say what is there")
    action.add_argument("--wheel", type=Path, metavar="DIR", help="only build the wheel, into DIR")
    parser.add_argument("--sdist", type=Path, metavar="FILE", help="source archive to use")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: the command line, by default that of the process.

    Returns:
        Exit code: 0 if Detectron2 works (or the wheel was built), else 1.
    """
    options = parse_arguments(arguments)
    try:
        if options.check:
            check()
        elif options.wheel:
            save_wheel(options.wheel, options.sdist)
        else:
            install(options.sdist)
    except InstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
