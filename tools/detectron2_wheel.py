"""Turns a source archive into a pure-Python wheel by exact, counted text replacements.

Everything happens in memory, on bytes: nothing of the archive is executed or extracted, and the
same input gives the same wheel, byte for byte, on every machine. What is replaced stands in a
`Recipe`; Detectron2's is in ``detectron2_edits.py``.
"""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

# The earliest time a zip archive can hold; a fixed one keeps the wheel reproducible.
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)


class InstallError(Exception):
    """The installation cannot go on. The message says why and what the user can do."""


@dataclass(frozen=True)
class Edit:
    """One exact replacement in one file.

    Attributes:
        file: path in the wheel, with forward slashes.
        old: the fragment as it stands in the file.
        new: what takes its place.
        reason: why, in one line; it also goes into the note at the end of the changed file.
        count: how often ``old`` must occur; any other number stops the build.
    """

    file: str
    old: str
    new: str
    reason: str
    count: int = 1


@dataclass(frozen=True)
class SourceArchive:
    """A source archive on the package registry.

    Attributes:
        source: name of its project.
        source_version: its version.
        sha256: its SHA-256, in hexadecimal.
    """

    source: str
    source_version: str
    sha256: str


@dataclass(frozen=True)
class Recipe(SourceArchive):
    """How one source archive becomes one wheel.

    Attributes:
        name: name of the distribution in the wheel.
        version: version of the distribution in the wheel.
        packages: folder in the archive -> package folder in the wheel.
        edits: the replacements, in the order in which they are applied.
        new_files: path in the wheel -> text of a file that the archive does not have.
        metadata: the headers and the description after ``Name`` and ``Version`` (PEP 566).
        author: who changed the files; stands in the note at the end of each of them.
    """

    name: str
    version: str
    packages: Mapping[str, str]
    edits: tuple[Edit, ...]
    metadata: str
    author: str
    new_files: Mapping[str, str] = field(default_factory=dict)

    @property
    def wheel_name(self) -> str:
        """File name of the wheel."""
        return f"{self.name}-{self.version}-py3-none-any.whl"


def check_sha256(data: bytes, expected: str, origin: str) -> None:
    """Stops unless ``data`` is the expected archive.

    Args:
        data: content of the archive.
        expected: its SHA-256, in hexadecimal.
        origin: where the data came from, for the message.

    Raises:
        InstallError: if the digest differs.
    """
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise InstallError(
            f"{origin} is not the expected file: its SHA-256 is {found}, expected {expected}. "
            "It was damaged or replaced; nothing was installed. Fetch it again."
        )


def read_sdist(data: bytes) -> dict[str, bytes]:
    """Reads the regular files of a ``.tar.gz`` source archive.

    Args:
        data: content of the archive.

    Returns:
        Path below the archive's top folder -> content. Links and devices are left out.

    Raises:
        InstallError: if it is not a readable archive.
    """
    files = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            for member in archive:
                if member.isreg():
                    path = member.name.partition("/")[2]
                    files[path] = archive.extractfile(member).read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InstallError(f"the source archive cannot be read: {error}") from error
    return files


def select_packages(files: Mapping[str, bytes], packages: Mapping[str, str]) -> dict[str, bytes]:
    """Picks the files of the packages and gives them their place in the wheel.

    Args:
        files: path in the archive -> content.
        packages: folder in the archive -> package folder in the wheel.

    Returns:
        Path in the wheel -> content.

    Raises:
        InstallError: if a folder is not in the archive.
    """
    selected = {}
    for source, target in packages.items():
        found = {
            f"{target}/{path.removeprefix(source + '/')}": content
            for path, content in files.items()
            if path.startswith(source + "/")
        }
        if not found:
            raise InstallError(f"the source archive has no folder {source}/; nothing was installed")
        selected.update(found)
    return selected


def apply_edits(
    files: Mapping[str, bytes], edits: Iterable[Edit], author: str = ""
) -> dict[str, bytes]:
    """Applies the replacements and notes them at the end of each changed file.

    The note is what the Apache License 2.0, section 4(b), asks for.

    Args:
        files: path -> content (UTF-8 for the files that are edited).
        edits: the replacements, in order.
        author: who makes the change, for the note.

    Returns:
        All files, the changed ones with their new content.

    Raises:
        InstallError: if a file is missing or a fragment does not occur exactly as often as stated.
    """
    result = dict(files)
    reasons: dict[str, list[str]] = {}
    for edit in edits:
        if edit.file not in result:
            raise InstallError(f"{edit.file} is not in the source archive; nothing was installed")
        text = result[edit.file].decode("utf-8")
        occurrences = text.count(edit.old)
        if occurrences != edit.count:
            raise InstallError(
                f"{edit.file}: expected {edit.count} times, found {occurrences} times: "
                f"{edit.old!r}. The source is not the one the edits were written for; "
                "nothing was installed."
            )
        result[edit.file] = text.replace(edit.old, edit.new).encode("utf-8")
        noted = reasons.setdefault(edit.file, [])
        if edit.reason not in noted:
            noted.append(edit.reason)
    for path, noted in reasons.items():
        note = "".join(f"# Modified: {reason}\n" for reason in noted)
        result[path] += f"\n# Modified by {author}:\n{note}".encode()
    return result


def write_wheel(recipe: Recipe, files: Mapping[str, bytes], license_text: bytes) -> bytes:
    """Packs files into a pure-Python wheel (binary distribution format 1.0).

    The members are stored sorted, uncompressed and with a fixed time, so that the result does
    not depend on the machine or on its version of zlib.

    Args:
        recipe: gives name, version and metadata.
        files: path in the wheel -> content.
        license_text: goes beside the metadata as ``LICENSE``.

    Returns:
        Content of the wheel.
    """
    info = f"{recipe.name}-{recipe.version}.dist-info"
    identity = f"Metadata-Version: 2.1\nName: {recipe.name}\nVersion: {recipe.version}\n"
    members = {
        **files,
        f"{info}/LICENSE": license_text,
        f"{info}/METADATA": (identity + recipe.metadata).encode(),
        f"{info}/WHEEL": (
            b"Wheel-Version: 1.0\nGenerator: install_detectron2\n"
            b"Root-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    record = f"{info}/RECORD"
    lines = [_record_line(path, members[path]) for path in sorted(members)]
    members[record] = "".join([*lines, f"{record},,\n"]).encode()

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as wheel:
        # The specification recommends the metadata at the end of the archive.
        for path in sorted(members, key=lambda path: (path.startswith(info), path)):
            member = zipfile.ZipInfo(path, _TIMESTAMP)
            member.create_system = 3  # Unix, on every system, so that the mode below is read.
            member.external_attr = 0o644 << 16
            wheel.writestr(member, members[path])
    return buffer.getvalue()


def _record_line(path: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(content)}\n"


def build_wheel(sdist: bytes, recipe: Recipe, origin: str = "the source archive") -> bytes:
    """Builds the wheel of a recipe.

    Args:
        sdist: content of the source archive.
        recipe: what to make of it.
        origin: where the archive came from, for messages.

    Returns:
        Content of the wheel.

    Raises:
        InstallError: if the archive is not the recipe's, or an edit does not fit.
    """
    check_sha256(sdist, recipe.sha256, origin)
    files = read_sdist(sdist)
    if "LICENSE" not in files:
        raise InstallError(f"{origin} has no LICENSE; nothing was installed")
    members = apply_edits(select_packages(files, recipe.packages), recipe.edits, recipe.author)
    for path, text in recipe.new_files.items():
        if path in members:
            raise InstallError(f"{path} is in {origin} already; nothing was installed")
        members[path] = text.encode("utf-8")
    return write_wheel(recipe, members, files["LICENSE"])
