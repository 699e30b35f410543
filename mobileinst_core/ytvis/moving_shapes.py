"""A generated data set of moving shapes, for tests, demonstrations and first experiments.

A class has an outline, a pattern and a range of hues, so that a small network learns it within
minutes; size and motion are drawn independently of it. Objects hide each other, change size,
turn, and leave and re-enter the frame. The hard set is for comparing trackers: its objects look
alike, stay hidden behind each other for long, and the camera moves.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as mask_util

from mobileinst_core.files import write_json
from mobileinst_core.masks.rle import encode_mask, rle_area

__all__ = ["DIFFICULTIES", "SHAPE_CLASSES", "make_moving_shapes"]

SHAPE_CLASSES = ("disc", "square", "triangle", "star")

# An object with fewer visible pixels than this counts as invisible in that frame.
_MIN_VISIBLE_PIXELS = 16
_JPEG_QUALITY = 90
DIFFICULTIES = ("easy", "hard")
# Chance that a further object of a video has the class of its first: the harder case.
_REPEATED_CLASS = {"easy": 0.15, "hard": 0.8}
# Distance of the hues of objects of one class, as a share of the class's range, by golden ratio.
_HUE_STEP = {"easy": 0.618, "hard": 0.1}
# In the hard set: chance that a further object hides behind an earlier one, and how far the camera
# moves to each side, relative to the shorter side of the frame.
_HIDING = 0.6
_CAMERA_PAN = 0.15
# Frames that an object takes to get behind another.
_APPROACH = 2.0
# Fixed-point bits of the polygon coordinates given to OpenCV: 1/16 pixel.
_SUBPIXEL_BITS = 4


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
            scene = _Scene.draw(
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


@dataclass(frozen=True)
class _Shape:
    """One object: its look and its motion as a function of the frame number."""

    class_index: int
    radius: float
    # Largest relative change of the radius, its angular frequency and its phase.
    pulse: tuple[float, float, float]
    # Angle in the first frame and per frame, in radians.
    angle: tuple[float, float]
    # The centre is at ``anchor`` at ``anchor_time`` and moves on straight lines between walls.
    anchor: np.ndarray
    anchor_time: float
    velocity: np.ndarray
    # Way out of the frame and back: displacement at the turning time, that time, half duration.
    excursion: tuple[np.ndarray, float, float] | None
    # A nearer shape that this one hides behind, and when: first and last frame number.
    cover: tuple["_Shape", float, float] | None
    # BGR as float32 in 0..255, and the phase of the pattern on it.
    colour: np.ndarray
    phase: float

    def radius_at(self, time: float) -> float:
        depth, frequency, phase = self.pulse
        return self.radius * (1.0 + depth * np.sin(frequency * time + phase))

    def angle_at(self, time: float) -> float:
        return self.angle[0] + self.angle[1] * time

    def centre_at(self, time: float, frame: np.ndarray) -> np.ndarray:
        """Centre (x, y) at a frame number, for a frame of size (width, height)."""
        free = self.anchor + self.velocity * (time - self.anchor_time)
        low, span = 0.1 * frame, 0.8 * frame
        folded = np.mod(free - low, 2 * span)
        centre = low + np.minimum(folded, 2 * span - folded)
        if self.excursion is not None:
            way, turn, half = self.excursion
            centre = centre + way * max(0.0, 1.0 - abs(time - turn) / half)
        if self.cover is not None:
            nearer, first, last = self.cover
            # On the way there and back for _APPROACH frames.
            away = max(first - time, time - last, 0.0)
            hidden = max(0.0, 1.0 - away / _APPROACH)
            centre = centre + hidden * (nearer.centre_at(time, frame) - centre)
        return centre

    def coverage(self, time: float, frame: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """Share of each pixel that the shape covers, hidden or not: (H, W) float32 in [0, 1].

        ``shift`` (x, y) is how far the scene is moved in the frame, by the camera.
        """
        angle, radius = self.angle_at(time), self.radius_at(time)
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        centre = self.centre_at(time, frame) + shift
        points = _OUTLINES[self.class_index] @ rotation.T * radius + centre
        canvas = np.zeros((int(frame[1]), int(frame[0])), np.uint8)
        fixed_point = np.round(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)
        cv2.fillPoly(canvas, [fixed_point], 255, lineType=cv2.LINE_AA, shift=_SUBPIXEL_BITS)
        return canvas.astype(np.float32) / 255.0

    def paint(self, time: float, frame: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """Colour of every pixel of the frame if the shape covered it: (H, W, 3) float32."""
        angle, (x, y) = self.angle_at(time), self.centre_at(time, frame) + shift
        columns = (np.arange(int(frame[0])) - x) / self.radius_at(time)
        rows = (np.arange(int(frame[1])) - y) / self.radius_at(time)
        # Coordinates that turn with the shape, in units of its radius.
        along = rows[:, None] * np.sin(angle) + columns * np.cos(angle)
        across = rows[:, None] * np.cos(angle) - columns * np.sin(angle)
        brightness = _PATTERNS[self.class_index](along, across, self.phase)
        return (1.0 + 0.3 * brightness.astype(np.float32))[..., None] * self.colour


def _regular_outline(radii: np.ndarray) -> np.ndarray:
    """Closed outline with the given radii at equal angles, scaled to the area of a unit disc."""
    angles = 2.0 * np.pi * np.arange(len(radii)) / len(radii)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.asarray(radii)[:, None]
    x, y = points.T
    area = 0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
    return points * np.sqrt(np.pi / area)


# In the order of SHAPE_CLASSES. Equal areas: size says nothing about the class.
_OUTLINES = (
    _regular_outline(np.ones(48)),
    _regular_outline(np.ones(4)),
    _regular_outline(np.ones(3)),
    _regular_outline(np.tile([1.0, 0.42], 5)),
)


# Patterns of the classes, in [-1, 1]: rings, checks, stripes and a glow.
_PATTERNS = (
    lambda along, across, phase: np.sin(9.0 * np.hypot(along, across) + phase),
    lambda along, across, phase: np.sin(7.0 * along + phase) * np.sin(7.0 * across + phase),
    lambda along, across, phase: np.sin(9.0 * along + phase),
    lambda along, across, phase: np.exp(-4.0 * (along**2 + across**2)),
)


@dataclass(frozen=True)
class _Scene:
    """One video: a drifting background, a camera, and shapes, the nearest first."""

    frame: np.ndarray
    background: np.ndarray
    drift: np.ndarray
    shapes: list[_Shape]
    # Largest way of the camera in pixels, and per axis its angular frequency and phase.
    pan: int
    swing: np.ndarray

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        index: int,
        num_frames: int,
        height: int,
        width: int,
        max_instances: int,
        *,
        hard: bool,
    ) -> "_Scene":
        """Draw a scene. The index decides what even the smallest set must contain."""
        frame = np.array([width, height], dtype=np.float64)
        margin = max(2, min(height, width) // 8)
        pan = round(_CAMERA_PAN * min(height, width)) if hard else 0
        background = _smooth_noise(rng, height + margin + 2 * pan, width + margin + 2 * pan)
        drift = rng.uniform(-1.0, 1.0, size=2) * margin / max(1, num_frames)

        difficulty = "hard" if hard else "easy"
        first_turn = rng.uniform()
        shapes: list[_Shape] = []
        lowest = min(2, max_instances) if hard else 1
        for number in range(int(rng.integers(lowest, max_instances + 1))):
            # Four successive videos show all classes, and every second one an excursion.
            step = number if rng.random() > _REPEATED_CLASS[difficulty] else 0
            class_index = (index + step) % len(SHAPE_CLASSES)
            leaves = num_frames >= 3 and (rng.random() < 0.15 or (number == 0 and index % 2 == 1))
            shape = _draw_shape(
                rng,
                class_index=class_index,
                # Objects of one class in one video differ in hue.
                hue=_class_hue(class_index, (first_turn + _HUE_STEP[difficulty] * number) % 1.0),
                num_frames=num_frames,
                frame=frame,
                others=shapes,
                leaves=leaves,
            )
            if hard and shapes and not leaves and rng.random() < _HIDING:
                shape = _hide(rng, shape, shapes[int(rng.integers(len(shapes)))], num_frames)
            shapes.append(shape)
        # In the hard set who hides is drawn later, and so is farther away.
        depth_order = range(len(shapes)) if hard else rng.permutation(len(shapes))
        swing = np.zeros((2, 2))
        if hard:
            swing[0] = 2.0 * np.pi * rng.uniform(0.5, 1.5, size=2) / max(1, num_frames)
            swing[1] = rng.uniform(0.0, 2.0 * np.pi, size=2)
        return cls(frame, background, drift, [shapes[i] for i in depth_order], pan, swing)

    def render(self, time: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """Draw one frame.

        Returns:
            the image, (H, W, 3) uint8 BGR, and per shape its visible mask, (H, W) bool.
        """
        width, height = self.frame.astype(int)
        shift = self.pan * np.sin(self.swing[0] * time + self.swing[1])
        margin = np.array(self.background.shape[1::-1]) - (width, height) - 2 * self.pan
        position = self.pan - shift + np.mod(self.drift * time, margin)
        left, top = np.round(position).astype(int)
        image = np.zeros((height, width, 3), np.float32)
        uncovered = np.ones((height, width), np.float32)
        masks = []
        for shape in self.shapes:
            coverage = shape.coverage(time, self.frame, shift)
            visible = coverage * uncovered
            image += visible[..., None] * shape.paint(time, self.frame, shift)
            masks.append(visible > 0.5)
            uncovered *= 1.0 - coverage
        image += uncovered[..., None] * self.background[top : top + height, left : left + width]
        return np.round(image).clip(0, 255).astype(np.uint8), masks


def _class_hue(class_index: int, position: float) -> float:
    """Hue in degrees at a position in [0, 1] of the class's range, which no other class has."""
    share = 360.0 / len(SHAPE_CLASSES)
    return share * (class_index + 0.8 * position)


def _smooth_noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Pale low-frequency texture, (height, width, 3) float32 in 0..255: it compresses well."""
    grid = rng.uniform(size=(4, 6, 1)) * 110.0 + rng.uniform(size=(4, 6, 3)) * 50.0 + 40.0
    return cv2.resize(grid.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)


def _draw_shape(
    rng: np.random.Generator,
    *,
    class_index: int,
    hue: float,
    num_frames: int,
    frame: np.ndarray,
    others: list[_Shape],
    leaves: bool,
) -> _Shape:
    """Draw one shape. If there are others, its way meets one of them: one hides the other."""
    side = float(frame.min())
    radius = side * rng.uniform(0.18, 0.28)
    anchor_time = float(rng.integers(num_frames))
    if others:
        other = others[int(rng.integers(len(others)))]
        offset = rng.uniform(-0.6, 0.6, size=2) * (radius + other.radius)
        anchor = np.clip(other.centre_at(anchor_time, frame) + offset, 0.1 * frame, 0.9 * frame)
    else:
        anchor = rng.uniform(0.15, 0.85, size=2) * frame
    direction = rng.uniform(0.0, 2.0 * np.pi)
    speed = side * rng.uniform(0.01, 0.06)
    pulse = (rng.uniform(0.05, 0.25), rng.uniform(0.2, 0.7), rng.uniform(0.0, 2.0 * np.pi))
    hsv = np.array([hue, rng.uniform(0.6, 1.0), rng.uniform(0.5, 1.0)], np.float32)
    colour = 255.0 * cv2.cvtColor(hsv.reshape(1, 1, 3), cv2.COLOR_HSV2BGR).reshape(3)
    excursion = None
    if leaves:
        axis, sign = int(rng.integers(2)), float(rng.choice([-1.0, 1.0]))
        way = np.zeros(2)
        # Far enough from anywhere in the frame, even for the enlarged shape and its corners.
        way[axis] = sign * (frame[axis] + 2.5 * radius)
        # In the middle third, so that it begins and ends inside.
        half = num_frames // 3
        excursion = (way, float(rng.integers(half, num_frames - half)), float(half))
    return _Shape(
        class_index=class_index,
        radius=radius,
        pulse=pulse,
        angle=(rng.uniform(0.0, 2.0 * np.pi), rng.uniform(-0.15, 0.15)),
        anchor=anchor,
        anchor_time=anchor_time,
        velocity=speed * np.array([np.cos(direction), np.sin(direction)]),
        excursion=excursion,
        cover=None,
        colour=colour,
        phase=rng.uniform(0.0, 2.0 * np.pi),
    )


def _hide(rng: np.random.Generator, shape: _Shape, nearer: _Shape, num_frames: int) -> _Shape:
    """The shape, made small enough to hide behind another for a third of the video or longer."""
    length = rng.uniform(0.33, 0.5) * num_frames
    first = rng.uniform(0.2, 0.4) * num_frames
    return replace(
        shape,
        radius=min(shape.radius, 0.6 * nearer.radius),
        cover=(nearer, first, first + length),
    )


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
