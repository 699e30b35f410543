"""Entries of annotation files, checked one by one, and reports of what is wrong with them.

Readers report a fault and continue with the rest; the report decides whether to stop.
"""

import math
import numbers
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mobileinst_core.errors import UserError

__all__ = [
    "Finding",
    "Report",
    "are_finite",
    "entries_by_id",
    "has_keys",
    "is_finite",
    "is_integer",
    "naming_annotations",
    "numbered_entries",
    "portable_path",
    "read_categories",
    "stop_at_error",
]


@dataclass(frozen=True)
class Finding:
    """Something that is wrong in a file.

    Attributes:
        group: the part of the file that it is about.
        message: what is wrong; names the entry.
        is_error: whether the entry cannot be used as it stands; otherwise this is a warning.
        in_metric: whether the metric looks at what is wrong.
    """

    group: str
    message: str
    is_error: bool = True
    in_metric: bool = True


Report = Callable[[Finding], None]


def stop_at_error(finding: Finding) -> None:
    """A report that raises errors and skips warnings.

    Raises:
        UserError: the finding is an error.
    """
    if finding.is_error:
        raise UserError(finding.message)


@contextmanager
def naming_annotations(json_file: str | os.PathLike) -> Iterator[None]:
    """Let user errors inside name the annotation file, and what lists all that is wrong with it."""
    try:
        yield
    except UserError as error:
        raise UserError(
            f"{json_file}: {error}. `tools/validate_data.py {json_file}` lists everything that is "
            "wrong with the file"
        ) from error


def read_categories(entries: Any, report: Report) -> dict[int, str]:
    """The categories of a YouTube-VIS or COCO file.

    Returns:
        Class names by category id, in ascending order of the id; "" for a category without a name.
    """
    group, names = "categories", {}
    for key, entry in sorted(entries_by_id(entries, "category", group, report).items()):
        name = entry.get("name", "")
        if "name" not in entry:
            report(Finding(group, f"category {key} has no 'name'", in_metric=False))
        elif not isinstance(name, str) or not name:
            message = f"category {key} has the name {name!r}, no text"
            report(Finding(group, message, in_metric=False))
            name = ""
        names[key] = name
    return names


def entries_by_id(entries: Any, what: str, group: str, report: Report) -> dict[int, dict]:
    """The usable entries of a list by their ``id``, in the order of the file.

    Of each id the first; see :func:`numbered_entries`.
    """
    numbered = numbered_entries(entries, what, group, report)
    return {key: entry for _, key, entry in numbered if key is not None}


def numbered_entries(
    entries: Any, what: str, group: str, report: Report, *, ids_in_metric: bool = True
) -> Iterator[tuple[str, int | None, dict]]:
    """The entries of a list with their ids, in the order of the file.

    Args:
        entries: part of a file that should be a list of mappings.
        what: the name of one entry in messages.
        group: see :class:`Finding`.
        report: takes what is wrong.
        ids_in_metric: whether the metric looks at the ids.

    Yields:
        For each entry that is a mapping: its name in messages, its id (None if it has none of its
        own), and the entry.
    """
    if not isinstance(entries, list) or not entries:
        kind = f"not a {type(entries).__name__}" if entries else f"not {entries!r}"
        report(Finding(group, f"there must be a list with at least one {what}, {kind}"))
        return
    known: set[int] = set()
    for position, entry in enumerate(entries):
        name, message = f"{what} at position {position}", None
        if not has_keys(entry, (), name, group, report):
            continue
        key = entry.get("id")
        if "id" not in entry:
            message = f"{name} has no 'id'"
        elif not is_integer(key):
            message = f"{what} ids must be integers, got {key!r}"
        elif key in known:
            message = f"the {what} id {key} occurs more than once"
        if message is None:
            known.add(int(key))
            yield f"{what} {int(key)}", int(key), entry
        else:
            report(Finding(group, message, in_metric=ids_in_metric))
            yield name, None, entry


def has_keys(entry: Any, keys: tuple[str, ...], what: str, group: str, report: Report) -> bool:
    """Whether an entry is a mapping with some keys; if not, that is reported.

    Args:
        entry: part of a file.
        keys: which it must have.
        what: the entry's name in messages.
        group: see :class:`Finding`.
        report: takes what is wrong.
    """
    if not isinstance(entry, dict):
        report(Finding(group, f"{what} must be a mapping, got {type(entry).__name__}"))
        return False
    missing = [key for key in keys if key not in entry]
    if missing:
        report(Finding(group, f"{what} has no {', '.join(map(repr, missing))}"))
    return not missing


def is_integer(value: Any) -> bool:
    """Whether a value of a JSON file is an integer, as are 4 and 4.0; true and false are none."""
    return type(value) is int or (is_finite(value) and value == value // 1)


def is_finite(value: Any) -> bool:
    """Whether a value of a JSON file is a number that fits into a float."""
    if type(value) is float:
        return abs(value) <= sys.float_info.max
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # Python's integers have no end
        return False


def are_finite(values: list) -> bool:
    """Whether it is quickly told that `is_finite` holds for all of many values."""
    if not set(map(type, values)) <= {int, float}:
        return False
    try:
        # Not finite if a number is not; integers without end, and sums, raise an error.
        return math.isfinite(math.fsum(values))
    except (OverflowError, ValueError):
        return False


def portable_path(name: str) -> str:
    """A file name of an annotation file with forward slashes, also if Windows has written it."""
    return name.replace("\\", "/")
