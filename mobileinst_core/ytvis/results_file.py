"""The results file of one video, written when the video ends."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from mobileinst_core.files import replacing
from mobileinst_core.masks.rle import to_rles
from mobileinst_core.tracking.keyframes import FramePrediction
from mobileinst_core.tracking.offline import VideoTracks
from mobileinst_core.video.images import DiskFullError, write_error
from mobileinst_core.video.sources import StreamLostError

__all__ = ["VideoResultsFile"]

logger = logging.getLogger(__name__)


class VideoResultsFile:
    """Collects the tracks of a video while it is predicted, for the format of `load_results`.

    A context: the file is written at its end, also when the user, a lost camera or a full disk
    ended the video early, but not after other errors.
    """

    def __init__(
        self,
        path: Path,
        tracks: VideoTracks,
        video_id: int,
        category_ids: Sequence[int],
        size: tuple[int, int],
    ) -> None:
        """Start a video.

        Args:
            path: the file to write; replaced if it exists.
            tracks: without a frame yet.
            video_id: for the entries of the file.
            category_ids: category id of each contiguous class index.
            size: (height, width) of the video in pixels.
        """
        self.path = path
        self.num_frames = 0
        self._tracks = tracks
        self._video_id = video_id
        self._category_ids = category_ids
        self._size = size
        self._image_size: tuple[int, int] | None = None

    def add(self, prediction: FramePrediction, image_size: tuple[int, int]) -> None:
        """Take the next frame.

        Args:
            prediction: of the frame.
            image_size: (H, W) of the network's image, without padding.
        """
        self._tracks.add(prediction)
        self._image_size = image_size
        self.num_frames += 1

    def fill(self, num_frames: int) -> None:
        """Add frames that were not predicted, which show nothing.

        Args:
            num_frames: length of the video to reach; nothing happens if it is as long.
        """
        while self.num_frames < num_frames:
            self._tracks.add(None)
            self.num_frames += 1

    def save(self) -> None:
        """Choose the tracks and write them; nothing without a frame.

        Raises:
            VideoIOError: the file cannot be written.
        """
        if self._image_size is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as partial, partial.open("w", encoding="utf-8") as file:
                count = self._write(file)
        except OSError as error:
            raise write_error(self.path, error) from error
        logger.info("%s: %d tracks over %d frames.", self.path, count, self.num_frames)

    def _write(self, file: TextIO) -> int:
        """Write the tracks, of which only some frames are in memory; returns how many."""
        count = 0
        file.write("[")
        for track in self._tracks.chosen(self._image_size, self._size):
            texts = (_json(to_rles(part, *self._size))[1:-1] for part in track.parts if part)
            empty = []
            for text in texts:
                empty.append(text)
                if "{" in text:
                    break
            else:
                continue  # it vanishes at the original size
            head = {
                "video_id": self._video_id,
                "category_id": self._category_ids[track.label],
                "score": float(track.score),
            }
            file.write("," if count else "")
            file.write(_json(head)[:-1] + ',"segmentations":[' + ",".join(empty))
            for text in texts:
                file.write("," + text)
            file.write("]}")
            count += 1
        file.write("]")
        return count

    def __enter__(self) -> "VideoResultsFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        if kind is None or issubclass(kind, KeyboardInterrupt | StreamLostError | DiskFullError):
            self.save()


def _json(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"))
