"""Run-length codes of many masks as arrays.

A code lists the lengths of runs of equal pixels in column-major order, beginning with the
background. COCO's compressed text holds each length, or from the fourth on its difference to the
one two places before, in groups of five bits, the lowest first.
"""

import re
from array import array
from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import NamedTuple

import numpy as np
from pycocotools import mask as mask_util

from mobileinst_core.errors import UserError

__all__ = ["MaskError", "Runs", "compressed_text", "compressed_texts", "read_runs"]

# A group is moved up by this code point ...
_CODE_OFFSET = 48
# ... and has a sixth bit that says that the number goes on. No run of an image needs more groups.
_MORE_BIT = 32
_MAX_GROUPS = 7
# The characters of groups that end a number, and of those after which it goes on.
_LAST = bytes(range(_CODE_OFFSET, _CODE_OFFSET + _MORE_BIT))
_MORE = bytes(range(_CODE_OFFSET + _MORE_BIT, _CODE_OFFSET + 2 * _MORE_BIT))
_CODE = re.compile("([0-o]*[0-O])?")
# From a last group to the signed byte with its five bits, of which the highest is the sign.
_SIGNED = bytes.maketrans(_LAST, bytes(range(16)) + bytes(range(240, 256)))
# The number 0. One after each code makes pairs of its numbers, which are odd in number unless the
# last pixel belongs to the mask.
_ZERO = chr(_CODE_OFFSET)
_INT32_END = 2**31
_NO_RUN = np.zeros(1, dtype=np.int32)


class MaskError(UserError):
    """A mask that cannot be read.

    Attributes:
        index: its place among the masks that were read together.
    """

    def __init__(self, message: str, index: int = 0) -> None:
        super().__init__(message)
        self.index = index


class Runs(NamedTuple):
    """Masks as runs of background and foreground.

    Attributes:
        lengths: (R, 2) int32, of background and of the foreground after it. Runs may be empty, and
            the last one of a mask is if its last pixel is background.
        rows: (n + 1,), where the runs of each mask begin, and their number.
        areas: (n,) int64, pixels of each mask.
        pixels: of all frames.
    """

    lengths: np.ndarray
    rows: np.ndarray
    areas: np.ndarray
    pixels: int

    def edges(self) -> np.ndarray:
        """The first pixel of each run of foreground and the one after its last: (R, 2).

        Pixels are numbered through from the first mask to the last.
        """
        dtype = np.int32 if self.pixels < _INT32_END else np.int64
        edges = self.lengths.cumsum(axis=0, dtype=dtype)
        edges[:, 1] += edges[:, 0]
        edges[:, 0] = edges[:, 1] - self.lengths[:, 1]
        return edges

    def have_gaps(self) -> np.ndarray:
        """Which masks have an empty run between others: (n,) bool."""
        is_empty = self.lengths == 0
        is_empty[self.rows[:-1], 0] = is_empty[self.rows[1:] - 1, 1] = False
        have_gaps = np.zeros(len(self.areas), dtype=bool)
        if is_empty.any():
            pairs = np.flatnonzero(is_empty.any(axis=1))
            have_gaps[self.rows.searchsorted(pairs, side="right") - 1] = True
        return have_gaps


def read_runs(codes: Sequence[str | list[int] | np.ndarray | None], pixels: Sequence[int]) -> Runs:
    """Read and check RLE, all of them in a few passes.

    Args:
        codes: for each mask its compressed text, or its run lengths, as a list or an int32 array of
            at least one, none negative, or None if it is empty.
        pixels: for each mask the number of pixels of its frame.

    Returns:
        Their runs.

    Raises:
        MaskError: a text is no code, or runs do not fill a frame.
    """
    if not codes:
        return Runs(np.zeros((0, 2), np.int32), np.zeros(1, np.int64), np.zeros(0, np.int64), 0)
    kinds = set(map(type, codes))
    if str in kinds:
        lengths, counts = _pairs_of_texts(codes, pixels)
    elif list in kinds:
        lengths, counts = _pairs_of_integers(codes, pixels)
    else:
        lengths, counts = _pairs_of_arrays(codes, pixels)
    rows = np.concatenate(([0], counts.cumsum()))
    background, areas = (np.add.reduceat(column, rows[:-1], dtype=np.int64) for column in lengths.T)
    is_wrong = background + areas != pixels
    if lengths.min() < 0:
        is_wrong |= np.minimum.reduceat(lengths.min(axis=1), rows[:-1]) < 0
    if is_wrong.any():
        index = int(is_wrong.argmax())
        raise MaskError(
            f"the RLE runs of a mask do not fill its frame of {pixels[index]} pixels; the mask "
            "was made for another size or is damaged",
            index,
        )
    return Runs(lengths, rows, areas, sum(pixels))


def compressed_text(counts: list[int], index: int = 0) -> str:
    """The compressed text of run lengths.

    Args:
        counts: background and foreground in turn. That they fill a frame is not checked.
        index: of the mask, for the error.

    Returns:
        The code.

    Raises:
        MaskError: they are not integers of 0 or more.
    """
    try:
        lengths = _lengths(counts)
        code = mask_util.frPyObjects({"size": [1, 1], "counts": lengths.tolist()}, 1, 1)
    except (OverflowError, TypeError, ValueError) as error:
        raise _not_integers(index) from error
    return code["counts"].decode("ascii")


def compressed_texts(codes: Sequence[str | np.ndarray | None]) -> list[str | None]:
    """The compressed texts of run lengths in arrays.

    Args:
        codes: for each mask its run lengths, none negative, or what stays as it is.

    Returns:
        The codes, without arrays.
    """
    lengths = [{"size": (1, 1), "counts": code} for code in codes if isinstance(code, np.ndarray)]
    texts = iter(mask_util.frPyObjects(lengths, 1, 1) if lengths else ())
    return [
        next(texts)["counts"].decode("ascii") if isinstance(code, np.ndarray) else code
        for code in codes
    ]


def _pairs_of_arrays(
    codes: Sequence[np.ndarray | None], pixels: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of background and foreground (R, 2) int32, and how many each mask has (n,)."""
    parts, counts = [], []
    for code, size in zip(codes, pixels, strict=True):
        if code is None:
            code = np.array([min(size, _INT32_END - 1)], dtype=np.int32)
        parts.append(code)
        if len(code) % 2:
            parts.append(_NO_RUN)
        counts.append((len(code) + 1) // 2)
    return np.concatenate(parts).reshape(-1, 2), np.array(counts)


def _pairs_of_integers(
    codes: Sequence[list[int] | np.ndarray | None], pixels: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of background and foreground (R, 2) int32, and how many each mask has (n,)."""
    codes = [code.tolist() if isinstance(code, np.ndarray) else code for code in codes]
    codes = [code or [size] for code, size in zip(codes, pixels, strict=True)]
    even = [[*code, 0] if len(code) % 2 else code for code in codes]
    counts = np.array([len(code) for code in even]) // 2
    try:
        runs = _lengths(list(chain.from_iterable(even)))
    except (OverflowError, TypeError, ValueError) as error:
        index = next(i for i, code in enumerate(codes) if not _are_lengths(code))
        raise _not_integers(index) from error
    return runs.clip(max=_INT32_END - 1).astype(np.int32).reshape(-1, 2), counts


def _lengths(numbers: list[int]) -> np.ndarray:
    """Run lengths (n,) int64; OverflowError, TypeError or ValueError if they are none."""
    # NumPy alone would also take fractions and text.
    lengths = np.frombuffer(array("q", numbers), dtype=np.int64)
    if lengths.min() < 0:
        raise ValueError("negative")
    return lengths


def _are_lengths(code: list[int]) -> bool:
    try:
        _lengths(code)
    except (OverflowError, TypeError, ValueError):
        return False
    return True


def _pairs_of_texts(
    codes: Sequence[str | list[int] | np.ndarray | None], pixels: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of background and foreground (R, 2) int32, and how many each mask has (n,)."""
    kinds = set(map(type, codes))
    if list in kinds:
        codes = [
            compressed_text(code, index) if isinstance(code, list) else code
            for index, code in enumerate(codes)
        ]
    if np.ndarray in kinds:
        codes = compressed_texts(codes)
    texts = [code or _background(size) for code, size in zip(codes, pixels, strict=True)]
    numbers, counts = _numbers(texts)
    even = counts % 2 == 0
    if not even.all():
        # The last pixel belongs to these masks.
        numbers = np.delete(numbers, counts.cumsum()[~even] - 1)
    pairs = counts // 2
    runs = numbers.reshape(-1, 2)
    last = pairs.cumsum() - 1
    begins = last - pairs + 1

    # From the fourth number of a code on, each is the difference to the one two places before.
    first = runs[begins, 0]
    runs[begins, 0] = 0
    runs = runs.cumsum(axis=0, dtype=np.int32)
    before = np.zeros((len(texts), 2), dtype=np.int32)
    before[1:] = runs[last[:-1]]
    # Both numbers of a pair are repeated as one of 64 bits, which is several times as fast.
    runs -= before.view(np.int64).repeat(pairs).view(np.int32).reshape(-1, 2)
    runs[begins, 0] = first
    runs[last[even], 1] = 0
    return runs, pairs


@cache
def _background(pixels: int) -> str:
    """The code of an empty mask."""
    return compressed_text([pixels])


def _numbers(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The signed numbers in compressed codes and a 0 after each code, and how many each has."""
    text = _ZERO.join([*texts, ""])
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    ends = (lengths + 1).cumsum()
    # Of other characters, some cannot be encoded.
    codes = np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8)
    if (
        not text.isascii()
        or codes.min() < _LAST[0]
        or codes.max() > _MORE[-1]
        or codes[ends - 2].max() > _LAST[-1]
    ):
        raise _not_a_code(next(i for i, text in enumerate(texts) if not _CODE.fullmatch(text)))

    # The highest group of each number with its sign, and then the others from high to low.
    highest = text.encode().translate(_SIGNED, _MORE)
    numbers = np.frombuffer(highest, dtype=np.int8).astype(np.int32)
    others = np.flatnonzero(codes >= _MORE[0])
    counts = np.diff(ends - others.searchsorted(ends), prepend=0)
    owners = others - np.arange(len(others))
    bits = codes.take(others).astype(np.int32) - _MORE[0]
    for _ in range(_MAX_GROUPS - 1):
        if not len(owners):
            break
        # Where several groups have the same owner, the last assignment holds.
        numbers[owners] = (numbers.take(owners) << 5) + bits
        lower = np.flatnonzero(owners[1:] == owners[:-1])
        owners, bits = owners.take(lower), bits.take(lower)
    if len(owners):
        raise _not_a_code(int(counts.cumsum().searchsorted(owners[0], side="right")))
    return numbers, counts


def _not_integers(index: int) -> MaskError:
    return MaskError("'counts' of a mask must be non-negative integers", index)


def _not_a_code(index: int) -> MaskError:
    return MaskError("'counts' of a mask is not a compressed RLE", index)
