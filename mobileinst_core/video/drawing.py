"""Drawing of instances on frames with OpenCV, fast enough to keep up with the network."""

import colorsys
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from mobileinst_core.detections import Detections

from .preparation import check_frame
from .text import TextSize, draw_text, text_size

__all__ = ["TrackVisualizer", "instance_color", "instance_colors", "label_texts"]

_GOLDEN_RATIO = 0.618034  # steps of it spread over the circle of hues without ever repeating
# Side of the grid in which the pieces of a mask are told apart.
_PIECE_GRID = 64
_DARK_TEXT = (25, 25, 25)
_LIGHT_TEXT = (255, 255, 255)
_MARK_COLOR = (40, 40, 40)


@lru_cache(maxsize=4096)
def instance_color(identity: int) -> tuple[int, int, int]:
    """The colour of an identity: a function of the number alone, so it never changes.

    Args:
        identity: any integer; neighbouring numbers get well separated hues.

    Returns:
        Blue, green and red, each in 0..255.
    """
    hue = (identity * _GOLDEN_RATIO) % 1.0
    # After eight identities hues come close to earlier ones, so the next eight get another tone.
    saturation, value = ((0.7, 1.0), (0.85, 0.85), (0.45, 0.95))[(identity - 1) // 8 % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * blue), round(255 * green), round(255 * red)


def instance_colors(detections: Detections) -> list[tuple[int, int, int]]:
    """One colour per instance: of its identity, or of its index plus one where there is none."""
    identities = detections.ids
    if identities is None:
        identities = range(1, len(detections) + 1)
    return [instance_color(int(identity)) for identity in identities]


def label_texts(detections: Detections, class_names: Sequence[str]) -> list[str]:
    """One text per instance, "#ID class .87", without what there is none of: identity or score.

    Args:
        detections: the instances.
        class_names: names by contiguous class index; others are shown as "class 7".

    Returns:
        As many texts as instances.
    """
    texts = []
    for index, score in zip(detections.classes.tolist(), detections.scores.tolist(), strict=True):
        known = 0 <= index < len(class_names)
        text = class_names[index] if known else f"class {index}"
        if not math.isnan(score):
            text += f" {score:.2f}".replace(" 0.", " .")
        texts.append(text)
    if detections.ids is None:
        return texts
    return [f"#{identity} {text}" for identity, text in zip(detections.ids, texts, strict=True)]


class TrackVisualizer:
    """Draws masks, contours and labels of instances over a frame.

    Every identity keeps one colour (see `instance_color`). Only the boxes of the instances are
    looked at, so the cost grows with the area of the objects and not with their number. A label
    is put at the largest piece of a mask.
    """

    def __init__(
        self, class_names: Sequence[str] = (), *, alpha: float = 0.5, show_labels: bool = True
    ) -> None:
        """Prepare a visualizer.

        Args:
            class_names: names by contiguous class index. Other indices are shown as "class 7".
            alpha: opacity of the masks, 0 (only contours) to 1.
            show_labels: write "#ID class .87" next to each object.

        Raises:
            ValueError: ``alpha`` is outside [0, 1].
        """
        if not 0.0 <= alpha <= 1.0:
            raise ValueError(f"alpha is {alpha}, but an opacity lies in [0, 1].")
        self.class_names = tuple(class_names)
        self.alpha = alpha
        self.show_labels = show_labels

    def draw_instance_predictions(
        self, frame: np.ndarray, detections: Detections, *, mark: str | None = None
    ) -> np.ndarray:
        """Draw instances over a copy of a frame.

        Args:
            frame: (H, W, 3) uint8, BGR. It is not modified.
            detections: the instances. Without identities, as for single images, colours follow
                the index and labels carry no number.
            mark: a word about the frame itself, for its corner.

        Returns:
            (H, W, 3) uint8, BGR.

        Raises:
            ValueError: the frame is no uint8 BGR image, or the masks have another size.
        """
        check_frame(frame)
        canvas = np.array(frame, order="C")
        if len(detections):
            self._draw_instances(canvas, detections, mark)
        elif mark:
            _draw_mark(canvas, mark)
        return canvas

    def _draw_instances(self, canvas: np.ndarray, detections: Detections, mark: str | None) -> None:
        if detections.image_size != canvas.shape[:2]:
            raise ValueError(
                f"the masks are {detections.image_size}, but the frame is {canvas.shape[:2]} "
                "(height, width)."
            )
        colors = instance_colors(detections)
        crops = [crop.pixels.view(np.uint8) for crop in detections.crops]
        boxes = [_Box(left, top, *reversed(pixels.shape)) for top, left, pixels in detections.crops]
        # Large objects first, so that small ones in front of them stay visible.
        areas = [cv2.countNonZero(crop) if crop.size else 0 for crop in crops]
        order = [i for i in np.argsort(areas)[::-1] if areas[i]]
        scratch = np.empty_like(canvas)
        for i in order:
            self._paint_mask(canvas, crops[i], boxes[i], colors[i], scratch)
        # After the masks, to be seen, and before the labels, which then avoid it.
        taken = _draw_mark(canvas, mark) if mark else []
        if self.show_labels:
            texts = label_texts(detections, self.class_names)
            for i in sorted(order):
                place = _label_place(crops[i]).moved(boxes[i].x, boxes[i].y)
                _draw_label(canvas, texts[i], place, colors[i], taken)

    def _paint_mask(
        self,
        canvas: np.ndarray,
        crop: np.ndarray,
        box: "_Box",
        color: tuple[int, int, int],
        scratch: np.ndarray,
    ) -> None:
        """Blend one mask, 0/1 inside its box, into the canvas, with an outline on its inner edge.

        ``scratch`` is an image to be used up: new memory would cost more than the drawing.
        """
        region = canvas[box.rows, box.columns]
        levels = np.arange(256)[:, None]  # 256, 1
        table = (1.0 - self.alpha) * levels + self.alpha * np.array(color)  # 256, 3
        blend = scratch[: box.height, : box.width]
        cv2.LUT(region, table.round().astype(np.uint8)[None], blend)
        cv2.copyTo(blend, crop, region)
        cv2.rectangle(blend, (0, 0), blend.shape[1::-1], color, cv2.FILLED)
        cv2.copyTo(blend, crop - _eroded(crop, box, canvas), region)


class _Box(NamedTuple):
    """A rectangle of pixels."""

    x: int
    y: int
    width: int
    height: int

    @property
    def rows(self) -> slice:
        return slice(self.y, self.y + self.height)

    @property
    def columns(self) -> slice:
        return slice(self.x, self.x + self.width)

    def moved(self, x: int, y: int) -> "_Box":
        return self._replace(x=self.x + x, y=self.y + y)

    def overlaps(self, other: "_Box") -> bool:
        """Whether they share a pixel."""
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )


def _eroded(crop: np.ndarray, box: _Box, canvas: np.ndarray) -> np.ndarray:
    """A mask without its edge; the frame's border makes none."""
    height, width = canvas.shape[:2]
    thickness = _line_width(canvas)
    top, left = min(box.y, thickness), min(box.x, thickness)
    bottom = min(height - box.y - box.height, thickness)
    right = min(width - box.x - box.width, thickness)
    padded = cv2.copyMakeBorder(crop, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0)
    kernel = np.ones((2 * thickness + 1, 2 * thickness + 1), np.uint8)
    return cv2.erode(padded, kernel)[top : top + box.height, left : left + box.width]


def _label_place(mask: np.ndarray) -> _Box:
    """Where the label of a mask belongs: above the top of its largest piece.

    Args:
        mask: (h, w) uint8, 0 or 1, with at least one pixel.

    Returns:
        The box of that piece; its columns are those of the top of the piece.
    """
    height, width = mask.shape
    grid = min(width, _PIECE_GRID), min(height, _PIECE_GRID)
    small = cv2.resize(mask, grid, interpolation=cv2.INTER_NEAREST)
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(small)
    if count == 1:  # thin lines between the samples
        return _Box(0, 0, width, height)
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    left, top, piece_width, piece_height = stats[largest, :4].tolist()
    # A person's label belongs above the head, not above the middle of head and outstretched arm.
    cap = numbers[top : top + max(1, piece_height // 8)] == largest
    columns = np.flatnonzero(cap.any(axis=0))
    left, piece_width = int(columns[0]), int(columns[-1] - columns[0] + 1)
    x, y = left * width // grid[0], top * height // grid[1]
    right = -(-(left + piece_width) * width // grid[0])
    bottom = -(-(top + piece_height) * height // grid[1])
    return _Box(x, y, right - x, bottom - y)


def _line_width(canvas: np.ndarray) -> int:
    """Width of contours in pixels: 1 up to 360p, 2 at 720p, 3 at 1080p."""
    return max(1, round(min(canvas.shape[:2]) / 360))


def _draw_mark(canvas: np.ndarray, mark: str) -> list[_Box]:
    """Write a word into the corner of a frame; returns the plate, for labels to avoid."""
    taken: list[_Box] = []
    _draw_label(canvas, mark, _Box(0, 0, 0, 0), _MARK_COLOR, taken)
    return taken


def _draw_label(
    canvas: np.ndarray,
    text: str,
    box: _Box,
    color: tuple[int, int, int],
    taken: list[_Box],
) -> None:
    """Write a text on a plate of the instance's colour, near its box and inside the frame.

    Args:
        canvas: (H, W, 3) uint8, drawn on in place.
        text: what to write; nothing happens when it is empty.
        box: of the object.
        color: the plate's colour, BGR.
        taken: plates drawn before, which are avoided where possible; the new one is added.
    """
    if not text:
        return
    frame_height, frame_width = canvas.shape[:2]
    scale, size = _fit_text(text, frame_height, frame_width)
    pad = max(2, size.height // 3)
    width = min(size.width + 2 * pad, frame_width)
    height = min(size.height + size.baseline + pad, frame_height)

    left = min(max(box.x + (box.width - width) // 2, 0), frame_width - width)
    bottom = box.y + box.height
    wanted = (
        *(box.y - height - 1, box.y + 1, bottom + 1, box.y + (box.height - height) // 2),
        *range(box.y + 1, bottom, height + 1),
    )
    tops = (min(max(top, 0), frame_height - height) for top in wanted)
    plates = [_Box(left, top, width, height) for top in tops]
    plate = next((p for p in plates if not any(map(p.overlaps, taken))), plates[0])
    taken.append(plate)

    region = canvas[plate.rows, plate.columns]
    region[:] = color
    blue, green, red = color
    dark_plate = 0.114 * blue + 0.587 * green + 0.299 * red < 128
    # Drawing into the plate's own region cannot leave the plate.
    origin = (min(pad, (width - size.width) // 2), height - size.baseline - pad // 2)
    draw_text(region, text, origin, scale, _LIGHT_TEXT if dark_plate else _DARK_TEXT)


@lru_cache(maxsize=1024)
def _fit_text(text: str, frame_height: int, frame_width: int) -> tuple[float, TextSize]:
    """The scale of a text for a frame of this size, and its size then.

    The letters are about 1/55 of the short side, but legible, and not wider than the frame.
    """
    scale = min(max(min(frame_height, frame_width) / 1300, 0.38), 1.6)
    size = text_size(text, scale)
    available = frame_width - 4
    if size.width > available > 0:
        scale *= available / size.width
        size = text_size(text, scale)
    return scale, size
