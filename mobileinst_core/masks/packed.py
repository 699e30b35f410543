"""RLEs and numbers of many frames in little memory."""

import binascii
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .rle import CheckedRle

__all__ = ["PackedRles", "PackedRows", "visible"]

# The characters of compressed texts are 64, as those of base64, of which four fill three bytes.
_CODE = bytes(range(48, 112))
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_TO_BASE64, _TO_CODE = bytes.maketrans(_CODE, _BASE64), bytes.maketrans(_BASE64, _CODE)


class _Frames(Sequence):
    """An item for each frame, made when it is asked for."""

    __slots__ = ()

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[frame] for frame in range(*index.indices(len(self)))]
        return self._item(range(len(self))[index])

    def __iter__(self) -> Iterator[Any]:
        return map(self._item, range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None

    def __repr__(self) -> str:
        return repr(list(self))


class PackedRles(_Frames):
    """The masks of a track, as the list of `to_rles` gives them; they cannot be changed."""

    __slots__ = ("_data", "_ends", "_size")

    def __init__(self, rles: Sequence[dict[str, Any] | None], size: tuple[int, int]) -> None:
        """Pack masks.

        Args:
            rles: compressed RLE with text, or None, for each frame.
            size: (height, width) of all of them in pixels.
        """
        texts = ["" if rle is None else rle["counts"] for rle in rles]
        text = "".join(texts).encode("ascii").translate(_TO_BASE64)
        self._data = binascii.a2b_base64(text + b"A" * (-len(text) % 4))
        self._ends = np.fromiter(map(len, texts), np.uint32, len(texts)).cumsum(dtype=np.uint32)
        self._size = tuple(size)

    def __len__(self) -> int:
        return len(self._ends)

    def are_visible(self) -> np.ndarray:
        """In which frames there is a mask: (n,) bool."""
        return np.diff(self._ends, prepend=np.uint32(0)) > 0

    def _item(self, frame: int) -> CheckedRle | None:
        start, end = int(self._ends[frame - 1]) if frame else 0, int(self._ends[frame])
        if start == end:
            return None
        first = start // 4
        text = binascii.b2a_base64(self._data[3 * first : 3 * (end // 4 + 1)], newline=False)
        text = text[start - 4 * first : end - 4 * first].translate(_TO_CODE)
        return CheckedRle(size=list(self._size), counts=text.decode("ascii"))


class PackedRows(_Frames):
    """Numbers of each frame, or None, as floats of 64 bits; they cannot be changed."""

    __slots__ = ("_rows",)

    def __init__(self, rows: Sequence[Any], missing: float | list[float]) -> None:
        """Pack numbers.

        Args:
            rows: for each frame a finite number, or a list of some, or None.
            missing: what stands for None: nan, or a list of as many.
        """
        self._rows = np.array([missing if row is None else row for row in rows], dtype=np.float64)

    def __len__(self) -> int:
        return len(self._rows)

    def _item(self, frame: int) -> Any:
        row = self._rows[frame]
        return None if np.isnan(row).any() else row.tolist()


def visible(rles: Sequence[dict[str, Any] | None]) -> np.ndarray:
    """In which frames a track has a mask.

    Args:
        rles: compressed RLE or None for each frame.

    Returns:
        (n,) bool.
    """
    if isinstance(rles, PackedRles):
        return rles.are_visible()
    return np.array([rle is not None for rle in rles], dtype=bool)
