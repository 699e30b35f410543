"""Anchors: a grid of boxes on each level, the code of boxes relative to them, and matching."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.structures import Boxes, pairwise_ioa, pairwise_iou
from torch import nn

from mobileinst_core.options import check_option

from .layers import SizeConstant

__all__ = [
    "ANCHOR_SHAPES",
    "AnchorGrid",
    "AnchorMatcher",
    "AnchorTargets",
    "corner_boxes",
    "decode_boxes",
    "encode_boxes",
]

ANCHOR_SHAPES = ("square", "ratio")

# SSD's variances of 0.1 and 0.2, as Detectron2 writes them.
_BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


class AnchorGrid(nn.Module):
    """Boxes of several shapes around each position of each level.

    They are fractions of the image, as the image is stretched to the input whatever its shape.
    Detectron2's generator counts in pixels from a fixed stride, and a level of 69 positions on 550
    pixels has none.
    """

    def __init__(
        self,
        *,
        sizes: Sequence[float] = (24, 48, 96, 192, 384),
        ratios: Sequence[float] = (1.0, 0.5, 2.0),
        shape: str = "square",
        input_size: tuple[int, int] = (550, 550),
    ) -> None:
        """Set up.

        Args:
            sizes: side of a square anchor on each level, in pixels of the input.
            ratios: width over height of the anchors at a position.
            shape: "ratio" = as ``ratios`` say; "square" = squares of those widths, which is what
                the published weights were trained with.
            input_size: (H, W) of the input that ``sizes`` are meant for.

        Raises:
            ValueError: if ``shape`` is unknown.
        """
        super().__init__()
        check_option("the shape of the anchors", shape, ANCHOR_SHAPES)
        height, width = input_size
        self.levels = nn.ModuleList()
        for size in sizes:
            sides = [(size * r**0.5 / width, size / r**0.5 / height) for r in ratios]
            if shape == "square":
                sides = [(side, side) for side, _ in sides]
            self.levels.append(_LevelAnchors(sides))

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """The anchors of all levels.

        Args:
            levels: maps (B, C, h, w).

        Returns:
            (A, 4), float32: centre x, centre y, width and height as fractions of the image, level
            by level, row by row, position by position.
        """
        return torch.cat([grid(x) for grid, x in zip(self.levels, levels, strict=True)])


class _LevelAnchors(SizeConstant):
    """The anchors of one level; ``sides`` are their widths and heights."""

    def __init__(self, sides: Sequence[tuple[float, float]]) -> None:
        super().__init__()
        self.sides = tuple(sides)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """(h * w * anchors, 4) for a map (B, C, h, w), rounded once."""
        height, width = x.shape[-2:]
        rows, columns = (
            (torch.arange(n, dtype=torch.float64, device=x.device) + 0.5) / n
            for n in (height, width)
        )
        shape = (height, width, len(self.sides))
        # Filled with numbers: a tensor of them would have to be sent to the device.
        widths, heights = (
            torch.stack([torch.full_like(columns[0], side) for side in sides]).expand(shape)
            for sides in zip(*self.sides, strict=True)
        )
        return (
            torch.stack(
                (
                    columns[None, :, None].expand(shape),
                    rows[:, None, None].expand(shape),
                    widths,
                    heights,
                ),
                dim=3,
            )
            .reshape(-1, 4)
            .float()
        )


def corner_boxes(anchors: torch.Tensor) -> torch.Tensor:
    """Anchors (A, 4) as x0, y0, x1, y1."""
    centres, sides = anchors.split(2, dim=1)
    return torch.cat((centres - sides / 2, centres + sides / 2), dim=1)


def decode_boxes(deltas: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """Boxes from their code, in operations that every runtime has.

    It is ``Box2BoxTransform.apply_deltas`` of Detectron2 without its limit on sizes.

    Args:
        deltas: (B, A, 4), as :func:`encode_boxes` gives them.
        anchors: (A, 4), see :class:`AnchorGrid`.

    Returns:
        (B, A, 4), x0, y0, x1, y1 as fractions of the image.
    """
    shifts, scales = deltas.float().split(2, dim=2)
    centres, sides = anchors[None].split(2, dim=2)
    centres = centres + shifts * (sides / _BOX_WEIGHTS[0])
    sides = (scales / _BOX_WEIGHTS[2]).exp() * sides
    corner = centres - sides / 2
    return torch.cat((corner, corner + sides), dim=2)


def encode_boxes(boxes: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """Boxes (N, 4), x0, y0, x1, y1, relative to N anchors: (N, 4)."""
    return Box2BoxTransform(weights=_BOX_WEIGHTS).get_deltas(corner_boxes(anchors), boxes)


class AnchorTargets(NamedTuple):
    """What the A anchors of an image are to say.

    Attributes:
        classes: (A,) int64: 0 background, class + 1, or -1 where nothing is to be learned.
        objects: (A,) int64, the object that each anchor stands for where it has a class.
    """

    classes: torch.Tensor
    objects: torch.Tensor


class AnchorMatcher:
    """Gives each anchor the object it covers best, and each object an anchor of its own.

    Detectron2's ``Matcher`` with ``allow_low_quality_matches`` takes every anchor that ties for an
    object's best and does not reassign an anchor to the object that claims it.
    """

    # Overlap from which an anchor stands for its object, and below which it is background; between
    # the two nothing is learned.
    POSITIVE_IOU, NEGATIVE_IOU = 0.5, 0.4
    # Share of an anchor inside a crowd above which it is no background.
    CROWD_OVERLAP = 0.7

    @torch.no_grad()
    def __call__(
        self,
        anchors: torch.Tensor,
        boxes: torch.Tensor,
        labels: torch.Tensor,
        crowd_boxes: torch.Tensor,
    ) -> AnchorTargets:
        """Match.

        Args:
            anchors: (A, 4), see :class:`AnchorGrid`.
            boxes: (M, 4) of the objects, x0, y0, x1, y1 as fractions of the image; M may be 0.
            labels: (M,) int64 classes from 0.
            crowd_boxes: (C, 4) of regions with many objects; C may be 0.

        Returns:
            The targets.
        """
        corners = Boxes(corner_boxes(anchors))
        classes, objects = (labels.new_zeros(len(anchors)) for _ in range(2))
        if len(boxes):
            overlaps, objects = self._assign(pairwise_iou(Boxes(boxes), corners))
            classes = (labels[objects] + 1).masked_fill(overlaps < self.POSITIVE_IOU, -1)
            classes = classes.masked_fill(overlaps < self.NEGATIVE_IOU, 0)
        if len(crowd_boxes):
            inside = pairwise_ioa(Boxes(crowd_boxes), corners).amax(0)
            classes = classes.masked_fill((classes <= 0) & (inside > self.CROWD_OVERLAP), -1)
        return AnchorTargets(classes, objects)

    @staticmethod
    def _assign(overlaps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Overlaps (M, A) to each anchor's best overlap and object; 2 for the claimed ones.

        The object with the largest overlap of all claims its anchor first.
        """
        best, objects = overlaps.max(0)
        overlaps = overlaps.clone()
        for _ in range(min(overlaps.shape)):
            claims, anchors = overlaps.max(1)
            # Places in tensors of one element: as numbers, each would be waited for.
            number = claims.argmax()[None]
            anchor = anchors.index_select(0, number)
            overlaps.index_fill_(1, anchor, -1).index_fill_(0, number, -1)
            best.index_fill_(0, anchor, 2)
            objects.index_copy_(0, anchor, number)
        return best, objects
