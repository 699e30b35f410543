"""The mask logits of a whole video, in memory that does not grow with its length."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mobileinst_core.masks.box_masks import foreground_boxes
from mobileinst_core.video.images import write_error

__all__ = ["KeptMasks"]

# What is kept in memory; the rest goes to a file without a name.
_MEMORY_BYTES = 256 * 2**20
# Rows and columns around the foreground: what a pixel of the result with foreground among its
# neighbours can depend on. Each of the two resizings reaches one row further.
_MARGIN = 4
# Logits of what is not kept, which is no foreground.
_BACKGROUND = -50.0
# Frames that are restored together.
_BLOCK = 64


class _Index(NamedTuple):
    """Where the masks of a frame are.

    Attributes:
        tracks: (n,) numbers of the tracks, in ascending order.
        boxes: (n, 4) top, bottom, left and right of what is kept.
        offsets: (n,) first bytes.
    """

    tracks: np.ndarray
    boxes: np.ndarray
    offsets: np.ndarray


class KeptMasks:
    """Takes the logits of each frame and gives those of one track in all frames.

    Only what is around foreground is kept, in single precision, so masks stay what they are. Up to
    256 MiB are in memory. Longer videos continue in a temporary file.

    Attributes:
        num_bytes: of all kept logits.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Start without frames.

        Args:
            folder: an existing one for the temporary file; None = that of the system.
        """
        self._folder = folder
        # It ends with this object.
        self._file = tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES, dir=folder)  # noqa: SIM115
        self.num_bytes = 0
        self._frames: list[_Index | None] = []
        self._size = (0, 0)

    def __len__(self) -> int:
        """The number of frames."""
        return len(self._frames)

    def add_gap(self) -> None:
        """Take a frame that shows nothing."""
        self._frames.append(None)

    def add(self, tracks: np.ndarray, logits: np.ndarray, threshold: float) -> None:
        """Take the masks of the next frame.

        Args:
            tracks: (n,), numbers of the tracks that they belong to, in ascending order.
            logits: (n, h, w), of one size in all frames.
            threshold: logits up to it are background.

        Raises:
            DiskFullError: the temporary file cannot grow.
        """
        self._size = logits.shape[1:]
        boxes = _boxes(logits, threshold)
        is_lit = boxes[:, 1] > boxes[:, 0]
        tracks, logits, boxes = tracks[is_lit], logits[is_lit], boxes[is_lit]
        offsets = np.empty(len(tracks), np.int64)
        try:
            self._file.seek(self.num_bytes)
            for place, (mask, box) in enumerate(zip(logits, boxes.tolist(), strict=True)):
                top, bottom, left, right = box
                offsets[place] = self.num_bytes
                self.num_bytes += self._file.write(
                    np.ascontiguousarray(mask[top:bottom, left:right], np.float32).data.cast("B")
                )
        except OSError as error:
            folder = self._folder or tempfile.gettempdir()
            raise write_error(folder, error, "keep the masks of the video in") from error
        self._frames.append(_Index(tracks.astype(np.int32), boxes.astype(np.int16), offsets))

    def of_track(self, track: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """The masks of a track, some frames at a time.

        Args:
            track: its number.

        Yields:
            How many frames these are; (m,) which of them show the track; and (m, h, w) float32
            logits of those.
        """
        for first in range(0, len(self._frames), _BLOCK):
            frames = self._frames[first : first + _BLOCK]
            shown, masks = [], []
            for number, index in enumerate(frames):
                place = -1 if index is None else _find(index.tracks, track)
                if place >= 0:
                    shown.append(number)
                    masks.append(self._read(index.boxes[place].tolist(), int(index.offsets[place])))
            empty = np.empty((0, *self._size), np.float32)
            yield len(frames), np.array(shown, np.int64), np.stack(masks) if masks else empty

    def _read(self, box: list[int], offset: int) -> np.ndarray:
        top, bottom, left, right = box
        shape = bottom - top, right - left
        self._file.seek(offset)
        values = np.frombuffer(self._file.read(4 * shape[0] * shape[1]), np.float32)
        mask = np.full(self._size, _BACKGROUND, np.float32)
        mask[top:bottom, left:right] = values.reshape(shape)
        return mask


def _boxes(logits: np.ndarray, threshold: float) -> np.ndarray:
    """Rows and columns to keep of each mask: (n, 4) top, bottom, left, right; zeros for none."""
    height, width = logits.shape[1:]
    boxes = np.zeros((len(logits), 4), np.int64)
    found = foreground_boxes(np.ascontiguousarray(logits, np.float32), threshold)
    for box, (x, y, columns, rows) in zip(boxes, found, strict=True):
        if columns:
            bottom, right = y + rows + _MARGIN, x + columns + _MARGIN
            box[:2] = max(y - _MARGIN, 0), min(bottom, height)
            box[2:] = max(x - _MARGIN, 0), min(right, width)
    return boxes


def _find(tracks: np.ndarray, track: int) -> int:
    """Where a track stands; -1 if it does not."""
    place = int(np.searchsorted(tracks, track))
    return place if place < len(tracks) and tracks[place] == track else -1
