"""A generated data set of moving shapes, for tests, demonstrations and first experiments.

A class has an outline, a pattern and a range of hues, so that a small network learns it within
minutes; size and motion are drawn independently of it. Objects hide each other, change size,
turn, and leave and re-enter the frame. The hard set is for comparing trackers: its objects look
alike, stay hidden behind each other for long, and the camera moves.
"""

from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as mask_util

from mobileinst_core.files import write_json
from mobileinst_core.masks.rle import encode_mask, rle_area

from .shape_scenes import SHAPE_CLASSES, Scene

__all__ = ["DIFFICULTIES", "SHAPE_CLASSES", "make_moving_shapes"]


# An object with fewer visible pixels than this counts as invisible in that frame.
_MIN_VISIBLE_PIXELS = 16
_JPEG_QUALITY = 90
DIFFICULTIES = ("easy", "hard")


def make_moving_shapes(
    output_dir: str | Path,
    *,
    num_videos: int = 40,
    num_frames: int = 12,
    height: int = 128,
    width: int = 192,
    seed: int = 0,
    num_val_videos: int | None = None,
    max_instances: int = 3,
    difficulty: str = "easy",
) -> Path:
    """Write a moving-shapes data set with exact masks in two annotation formats.

    Layout, for both splits::

        <output_dir>/{train,val}/JPEGImages/<video>/00000.jpg ...
        <output_dir>/{train,val}/instances.json   YouTube-VIS format, one entry per track
        <output_dir>/{train,val}/coco.json        COCO format of the same frames

    File names in both files are relative to ``JPEGImages``. Masks are the visible parts as
    compressed RLE; a frame where (almost) nothing of an object is visible has ``null``. A video
    depends only on ``seed``, its split and its index, so a larger set begins with the smaller
    one. Existing files of the same names are overwritten.

    Args:
        output_dir: folder to write to; created if absent.
        num_videos: number of training videos.
        num_frames: frames per video.
        height: frame height in pixels, at least 32.
        width: frame width in pixels, at least 32.
        seed: any non-negative integer; the same seed gives the same files.
        num_val_videos: number of validation videos; a quarter of ``num_videos`` by default.
        max_instances: largest number of objects in one video; the smallest is 1, in the hard set 2.
        difficulty: "easy", or "hard": most objects of a video have one class and almost one colour,
            many spend a third of the video behind another, and the camera moves.

    Returns:
        ``output_dir`` as a path.

    Raises:
        ValueError: if a number is out of range or the difficulty is unknown.
        OSError: if a file cannot be written.
    """
    if num_val_videos is None:
        num_val_videos = max(1, num_videos // 4)
    _check_at_least(1, num_videos=num_videos, num_val_videos=num_val_videos, num_frames=num_frames)
    _check_at_least(1, max_instances=max_instances)
    _check_at_least(32, height=height, width=width)
    _check_at_least(0, seed=seed)
    if difficulty not in DIFFICULTIES:
        raise ValueError(f"difficulty is {difficulty!r}, choose one of {', '.join(DIFFICULTIES)}")

    output_dir = Path(output_dir)
    for stream, (split, count) in enumerate([("train", num_videos), ("val", num_val_videos)]):
        writer = _SplitWriter(output_dir / split, height, width)
        for index in range(count):
            # A random stream for each video: no validation video repeats a training video.
            rng = np.random.default_rng([seed, stream, index])
            scene = Scene.draw(
                rng, index, num_frames, height, width, max_instances, hard=difficulty == "hard"
            )
            frames = [scene.render(time) for time in range(num_frames)]
            writer.add_video(f"{index:05d}", frames, [shape.class_index for shape in scene.shapes])
        writer.close()
    return output_dir


def _check_at_least(lowest: int, **values: int) -> None:
    for name, value in values.items():
        if value < lowest:
            raise ValueError(f"{name} must be at least {lowest}, got {value}")


class _SplitWriter:
    """Writes the frames of one split and collects its annotations in both formats."""

    def __init__(self, root: Path, height: int, width: int) -> None:
        self._root = root
        self._size = {"height": height, "width": width}
        categories = [
            {"id": i, "name": name, "supercategory": "shape"}
            for i, name in enumerate(SHAPE_CLASSES, start=1)
        ]
        header = {"info": {"description": "generated moving shapes"}, "categories": categories}
        self._ytvis: dict = {**header, "videos": [], "annotations": []}
        self._coco: dict = {**header, "images": [], "annotations": []}

    def add_video(
        self,
        name: str,
        frames: list[tuple[np.ndarray, list[np.ndarray]]],
        class_indices: list[int],
    ) -> None:
        """Write one video.

        Args:
            name: folder of its frames.
            frames: image, (H, W, 3) uint8 BGR, and one (H, W) bool mask per object, per frame.
            class_indices: index into SHAPE_CLASSES of each object.
        """
        folder = self._root / "JPEGImages" / name
        folder.mkdir(parents=True, exist_ok=True)
        file_names = [f"{name}/{time:05d}.jpg" for time in range(len(frames))]
        for file_name, (image, _) in zip(file_names, frames, strict=True):
            path = self._root / "JPEGImages" / file_name
            if not cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]):
                raise OSError(f"Could not write {path}")

        video_id = len(self._ytvis["videos"]) + 1
        first_image_id = len(self._coco["images"]) + 1
        self._ytvis["videos"].append(
            {"id": video_id, **self._size, "length": len(frames), "file_names": file_names}
        )
        self._coco["images"].extend(
            {"id": first_image_id + time, **self._size, "file_name": file_name}
            for time, file_name in enumerate(file_names)
        )
        for number, class_index in enumerate(class_indices):
            masks = [_mask_annotation(frame_masks[number]) for _, frame_masks in frames]
            self._add_track(video_id, first_image_id, class_index + 1, masks)

    def _add_track(
        self, video_id: int, first_image_id: int, category_id: int, masks: list[dict | None]
    ) -> None:
        if not any(masks):
            return
        common = {"category_id": category_id, "iscrowd": 0}
        self._ytvis["annotations"].append(
            {
                "id": len(self._ytvis["annotations"]) + 1,
                "video_id": video_id,
                **common,
                **self._size,
                "segmentations": [mask and mask["segmentation"] for mask in masks],
                "bboxes": [mask and mask["bbox"] for mask in masks],
                "areas": [mask and mask["area"] for mask in masks],
            }
        )
        for time, mask in enumerate(masks):
            if mask is not None:
                annotation_id = len(self._coco["annotations"]) + 1
                self._coco["annotations"].append(
                    {"id": annotation_id, "image_id": first_image_id + time, **common, **mask}
                )

    def close(self) -> None:
        """Write the two annotation files."""
        write_json(self._root / "instances.json", self._ytvis)
        write_json(self._root / "coco.json", self._coco)


def _mask_annotation(mask: np.ndarray) -> dict | None:
    """The COCO fields of a mask, (H, W) bool, or None if too little of it is visible."""
    if np.count_nonzero(mask) < _MIN_VISIBLE_PIXELS:
        return None
    rle = encode_mask(mask)
    return {"segmentation": rle, "bbox": mask_util.toBbox(rle).tolist(), "area": rle_area(rle)}
