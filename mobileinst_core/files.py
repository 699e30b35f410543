"""Files that are read with errors that name them, and written whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["read_json", "replacing", "write_json"]


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file.

    Args:
        path: the file.

    Returns:
        Its content.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON.
    """
    # Here, as writing files shall not import PyTorch.
    from detectron2.utils.file_io import PathManager

    with PathManager.open(os.fspath(path), "r", encoding="utf-8") as file:
        try:
            return json.load(file)
        except ValueError as error:
            raise ValueError(f"{path} is not valid JSON: {error}") from error


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write a JSON file, without spaces, and its folder if that is missing.

    A file that was there stays whole until the new one is complete.

    Args:
        path: the file; replaced if it exists.
        content: what JSON can hold.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(
            json.dumps(content, separators=(",", ":"), ensure_ascii=False), encoding="utf-8"
        )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which replaces ``path`` when the block ends without an error.

    Args:
        path: the file to write, in an existing folder.

    Yields:
        A path in the same folder.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
