"""Files of tracks, of which the run lengths of masks are read as arrays.

Many files list run lengths as integers, hundreds for a mask of a large frame. As Python's objects
they take most of the time and of the memory of reading a file. Here NumPy reads them from the text,
which the JSON parser does not see.
"""

import gc
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, pairwise
from typing import Any

import numpy as np
import orjson
from tqdm import tqdm

from mobileinst_core.files import parse_json, read_bytes

__all__ = ["PROGRESS_DELAY", "collection_paused", "read_tracks_json"]

# Seconds after which a progress bar appears.
PROGRESS_DELAY = 5
_KEY = b'"counts"'
# With these it may be written in another way, and have a number that is taken for that of a list.
_ESCAPED_LETTERS = (rb"\u006", rb"\u007")
# What follows the text of the key: with a colon it is a key, and has a value that begins so.
_VALUE = re.compile(rb"(?:[ \t\r\n]*:[ \t\r\n]*(.))?", re.DOTALL)
# Characters of lists that are read together: few enough for the processor's cache.
_BATCH = 100_000
# Stands before and after each list, in which no number is negative.
_END = b"-1"
_NOT_JSON = (b"+", b"\v", b"\f")
_ZERO, _COMMA, _MINUS = b"0,-"
_INT32_END = 2**31


def read_tracks_json(path: str | os.PathLike) -> Any:
    """Read a JSON file of tracks, annotated or predicted.

    Args:
        path: the file.

    Returns:
        Its content, as `read_json` returns it, but where ``segmentations`` have lists of run
        lengths as ``counts``, these are (n,) int32 arrays, unless something about the file is
        unusual.

    Raises:
        UserError: it cannot be read, or is not JSON.
    """
    data = read_bytes(path)
    content = _with_arrays(data, os.path.basename(path))
    return parse_json(data, path) if content is None else content


@contextmanager
def collection_paused() -> Iterator[None]:
    """A context in which Python does not look for garbage among the objects that a file becomes."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _with_arrays(data: bytes, name: str) -> Any:
    """The content of a JSON file with arrays; None if only the JSON parser can tell."""
    spans = _find_lists(data)
    if not spans or _has_escaped_letters(data):
        return None
    pieces: list[bytes] = []
    arrays: list[np.ndarray] = []
    batch: list[bytes] = []
    size = end = 0
    with tqdm(
        total=len(data), desc=name, unit="B", unit_scale=True, delay=PROGRESS_DELAY
    ) as progress:
        for number, (start, stop) in enumerate(spans):
            # The parser sees the number of the list.
            pieces += data[end:start], b"%d" % number
            end = stop
            batch.append(data[start + 1 : stop - 1])
            size += stop - start
            if size > _BATCH or number == len(spans) - 1:
                found = _read_lists(batch)
                if found is None:
                    return None
                arrays += found
                progress.update(end - progress.n)
                batch, size = [], 0
    pieces.append(data[end:])
    try:
        content = orjson.loads(b"".join(pieces))
    except ValueError:
        return None
    return content if _put(arrays, content) else None


def _has_escaped_letters(data: bytes) -> bool:
    # A single character is found ten times as fast.
    return b"\\" in data and any(letter in data for letter in _ESCAPED_LETTERS)


def _find_lists(data: bytes) -> list[tuple[int, int]] | None:
    """Where the lists under the key begin and end.

    None if there are values of another kind, or the first is text, as then few will be lists.
    """
    spans, end = [], 0
    while (start := data.find(_KEY, end)) >= 0:
        end = start + len(_KEY)
        if data.startswith(b": [", end):  # as most files have it
            value, kind = end + 2, b"["
        else:
            match = _VALUE.match(data, end)
            value, kind = match.end() - 1, match[1]
        # The quote before a key is the first one after a bracket or comma; escaped ones are text.
        if kind == b'"' and not spans:
            return None
        if kind is None or kind == b'"' or data.startswith(b"\\", start - 1):
            continue
        end = data.find(b"]", value) + 1
        if kind != b"[" or end == 0:
            return None
        if end > value + 2:
            spans.append((value, end))
    return spans


def _read_lists(texts: list[bytes]) -> list[np.ndarray] | None:
    """Arrays of the numbers in lists, without their brackets; None if JSON might not say so."""
    text = b",".join([_END, *chain.from_iterable((text, _END) for text in texts)])
    codes = np.frombuffer(text, dtype=np.uint8)
    is_digit = codes >= _ZERO
    # NumPy allows signs, zeros before a number and more spaces than JSON does, and takes a lone
    # sign or a space for a 0.
    if (
        any(sign in text for sign in _NOT_JSON)
        or np.count_nonzero(codes == _MINUS) != len(texts) + 1
        or np.count_nonzero(is_digit[1:] > is_digit[:-1]) != np.count_nonzero(codes == _COMMA) + 1
        or ((codes[1:-1] == _ZERO) & (is_digit[2:] > is_digit[:-2])).any()
    ):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # it warns of what it cannot read
            numbers = np.fromstring(text, dtype=np.int64, sep=",")
    except (DeprecationWarning, ValueError):
        return None
    ends = np.flatnonzero(numbers < 0).tolist()
    if len(ends) != len(texts) + 1 or numbers.max() >= _INT32_END:
        return None
    numbers = numbers.astype(np.int32)
    return [numbers[start + 1 : end] for start, end in pairwise(ends)]


def _put(arrays: list[np.ndarray], content: Any) -> bool:
    """Replace the numbers of lists in masks by the lists; false if there are some elsewhere."""
    tracks, count = content.get("annotations") if isinstance(content, dict) else content, 0
    for track in tracks if isinstance(tracks, list) else ():
        masks = track.get("segmentations") if isinstance(track, dict) else None
        for mask in masks if isinstance(masks, list) else ():
            number = mask.get("counts") if isinstance(mask, dict) else None
            if type(number) is int and 0 <= number < len(arrays):
                mask["counts"] = arrays[number]
                count += 1
    return count == len(arrays)
