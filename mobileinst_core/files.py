"""Files that are read with errors that name them, and written whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from .errors import UserError

__all__ = ["parse_json", "read_bytes", "read_json", "replacing", "write_json"]


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file; UserError if it cannot be read, or is not JSON."""
    return parse_json(read_bytes(path), path)


def read_bytes(path: str | os.PathLike) -> bytes:
    """Read a file; UserError if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def parse_json(content: bytes, path: str | os.PathLike) -> Any:
    """Parse the bytes of a JSON file, which errors call ``path``.

    Raises:
        UserError: they are not JSON.
    """
    try:
        return orjson.loads(content)
    except ValueError:
        # Infinite numbers and other encodings than UTF-8, of which there is more to say.
        pass
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write what JSON can hold to a file, without spaces, and its folder if that is missing.

    A file that was there stays whole until the new one is complete.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(
            json.dumps(content, separators=(",", ":"), ensure_ascii=False), encoding="utf-8"
        )


@contextmanager
def replacing(path: Path, partial: Path | None = None) -> Iterator[Path]:
    """A path to write to, which replaces ``path`` when the block ends without an error.

    Args:
        path: the file to write, in an existing folder.
        partial: the path, in the same folder; None = one that no other process has.
    """
    partial = partial or path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
