"""Annotations and results drawn over the frames of their videos."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_util

from mobileinst_core.detections import Detections
from mobileinst_core.masks.rle import to_rle
from mobileinst_core.video.contact_sheet import contact_sheet, spread
from mobileinst_core.video.drawing import TrackVisualizer
from mobileinst_core.video.images import read_image, write_image
from mobileinst_core.video.writers import VideoWriter

from .annotations import AnnotationFile, Video

__all__ = ["DataViewer"]

# A track: class index, score or NaN, and a mask in any encoding or None for every frame.
_Entry = tuple[int, float, list]


class DataViewer:
    """Draws the tracks of an annotation file, and beside them those of a results file.

    Colours follow the position of a track in its video, best first for results.
    """

    def __init__(
        self,
        content: dict[str, Any],
        image_root: Path,
        *,
        results: list[dict[str, Any]] | None = None,
        min_score: float = 0.3,
    ) -> None:
        """Check the files.

        Args:
            content: of an annotation file in the YouTube-VIS format.
            image_root: folder that its file names are relative to.
            results: entries of a results file, checked.
            min_score: score from which results are drawn.

        Raises:
            UserError: the content is malformed.
        """
        file = AnnotationFile(content)
        self.videos = file.videos
        self._root = image_root
        self._results = results
        self._min_score = min_score
        labels = {category_id: label for label, category_id in enumerate(file.categories)}
        self._visualizer = TrackVisualizer(list(file.categories.values()))
        self._truth: dict[int, list[_Entry]] = {key: [] for key in self.videos}
        self._found: dict[int, list[_Entry]] = {key: [] for key in self.videos}
        if file.has_tracks:
            for _, track in file.tracks():
                entry = (labels[track["category_id"]], math.nan, track["segmentations"])
                self._truth[track["video_id"]].append(entry)
        for entry in sorted(results or (), key=lambda entry: -entry["score"]):
            if entry["score"] >= min_score and entry["video_id"] in self._found:
                item = (
                    labels.get(entry["category_id"], -1),
                    entry["score"],
                    entry["segmentations"],
                )
                self._found[entry["video_id"]].append(item)

    def frames(self, video_id: int, count: int | None = None) -> Iterator[np.ndarray]:
        """Draw frames of a video.

        Args:
            video_id: of the file.
            count: how many frames, at even distances; None = all.

        Yields:
            (H, W, 3) uint8 BGR: the ground truth, with results also these, to its right.

        Raises:
            ImageReadError: a frame cannot be read.
        """
        video = self.videos[video_id]
        for number in range(video.length) if count is None else spread(video.length, count):
            path = self._root / video.file_names[number]
            size = video.height, video.width
            image = read_image(path, "BGR", size=size, allow_transposed=True)
            drawn = [self._draw(image, video, self._truth[video_id], number, "ground truth")]
            if self._results is not None:
                mark = f"results from {self._min_score:.2g}"
                drawn.append(self._draw(image, video, self._found[video_id], number, mark))
            yield np.hstack(drawn)

    def _draw(
        self, image: np.ndarray, video: Video, tracks: Sequence[_Entry], number: int, mark: str
    ) -> np.ndarray:
        detections = _detections(tracks, number, (video.height, video.width))
        return self._visualizer.draw_instance_predictions(image, detections, mark=mark)

    def write_video(self, video_id: int, folder: Path, *, fps: float, overwrite: bool) -> Path:
        """Draw all frames of a video.

        Args:
            video_id: of the file.
            folder: where the file goes, named by the id.
            fps: frames per second.
            overwrite: replace an existing file.

        Returns:
            A video; an image, if there is one frame only.

        Raises:
            UserError: a frame cannot be read, or the file cannot be written.
        """
        if self.videos[video_id].length == 1:
            path = folder / f"{video_id}.jpg"
            write_image(path, next(self.frames(video_id)), overwrite=overwrite)
            return path
        path, writer = folder / f"{video_id}.mp4", None
        for frame in self.frames(video_id):
            if writer is None:
                size = frame.shape[1], frame.shape[0]
                writer = VideoWriter(path, fps=fps, size=size, overwrite=overwrite)
            writer.write(frame)
        writer.close()
        return path

    def sheet(self, video_ids: Sequence[int], frames: int) -> np.ndarray:
        """A contact sheet: a row of frames for each video, of images several in a row."""
        rows = [list(self.frames(video_id, frames)) for video_id in video_ids]
        if all(len(row) == 1 for row in rows):
            flat = [image for row in rows for image in row]
            rows = [flat[i : i + frames] for i in range(0, len(flat), frames)]
        width = 640 if self._results is not None else 320
        return contact_sheet(rows, cell_width=width)


def _detections(tracks: Sequence[_Entry], number: int, size: tuple[int, int]) -> Detections:
    """The tracks that a frame shows; identities are their positions from 1."""
    ids, classes, scores, masks, boxes = [], [], [], [], []
    for position, (label, score, segmentations) in enumerate(tracks, 1):
        rle = None if segmentations[number] is None else to_rle(segmentations[number], *size)
        if rle is None:
            continue
        ids.append(position)
        classes.append(label)
        scores.append(score)
        masks.append(mask_util.decode(rle).astype(bool))
        x, y, width, height = mask_util.toBbox(rle)
        boxes.append((x, y, x + width, y + height))
    stacked = np.stack(masks) if masks else np.zeros((0, *size), bool)
    return Detections(
        masks=stacked,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.array(scores, np.float32),
        classes=np.array(classes, np.int64),
        ids=np.array(ids, np.int64),
    )
