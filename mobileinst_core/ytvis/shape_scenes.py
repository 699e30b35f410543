"""Scenes of the moving shapes: what objects look like, how they move and how they are drawn."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

__all__ = ["SHAPE_CLASSES", "Scene"]

SHAPE_CLASSES = ("disc", "square", "triangle", "star")
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
class Scene:
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
    ) -> "Scene":
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
