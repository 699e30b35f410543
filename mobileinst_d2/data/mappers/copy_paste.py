"""Objects of one training sample pasted onto another: of images instances, of clips tracks."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from detectron2.structures import Instances

from mobileinst_d2.structures import is_clip, per_frame

from .samples import make_clip_instances, make_instances

__all__ = ["CopyPasteMapper", "paste_objects"]

# Each object of the other sample is pasted with this probability, one of them in any case.
_SHARE = 0.5


class CopyPasteMapper:
    """A mapper that now and then pastes objects of a second sample, drawn from the same data.

    Both samples have gone through their augmentation, as in Ghiasi et al., "Simple Copy-Paste is a
    Strong Data Augmentation Method for Instance Segmentation", CVPR 2021. The frames of a clip get
    those of the other clip in order, at one offset, so that a pasted track moves as it did.
    """

    def __init__(
        self,
        mapper: Callable[[dict], dict | None],
        records: Sequence[dict],
        probability: float,
    ) -> None:
        """Keep the settings.

        Args:
            mapper: makes training samples, images or clips.
            records: what the second sample is drawn from.
            probability: of pasting, in (0, 1].

        Raises:
            ValueError: if the probability is out of range.
        """
        if not 0 < probability <= 1:
            raise ValueError(f"probability is {probability}, choose a number in (0, 1]")
        self.mapper = mapper
        self.records = records
        self.probability = probability
        logging.getLogger(__name__).info(
            "Objects of another sample are pasted onto %.0f %% of the samples.", 100 * probability
        )

    def __call__(self, record: dict) -> dict | None:
        """Map one record, see the mapper inside."""
        sample = self.mapper(record)
        if sample is None or np.random.rand() >= self.probability:
            return sample
        other = self.mapper(self.records[np.random.randint(len(self.records))])
        return sample if other is None else paste_objects(sample, other)


def paste_objects(sample: dict, other: dict) -> dict:
    """Paste a random choice of the objects of one sample onto another.

    Args:
        sample: a mapped image, or a clip of F frames.
        other: the same kind, of any size; its objects keep their size.

    Returns:
        ``sample`` with new ``image`` and ``instances``. Objects below the pasted ones lose the
        pixels that are covered, and are left out where none is left.
    """
    images, instances = per_frame(sample, "image"), per_frame(sample, "instances")
    others, pasted = per_frame(other, "image"), per_frame(other, "instances")
    rows = _choose(len(pasted[0]))
    if not len(rows):
        return sample
    place = _Place(images[0].shape[-2:], others[0].shape[-2:])
    result, masks = [], []
    for image, theirs, own, new in zip(images, others, instances, pasted, strict=True):
        on_top = place(new.gt_masks.tensor[rows], torch.zeros(len(rows), *image.shape[-2:]).bool())
        covered = on_top.any(0)
        result.append(torch.where(covered, place(theirs, torch.zeros_like(image)), image))
        masks.append(torch.cat((own.gt_masks.tensor & ~covered, on_top)))
    classes = torch.cat((instances[0].gt_classes, pasted[0].gt_classes[rows])).tolist()
    if not is_clip(sample):
        merged = make_instances(masks[0], classes)
        return {**sample, "image": result[0], "instances": merged[merged.gt_masks.nonempty()]}
    ids = _identities(instances)
    new_ids = _identities(pasted)[rows] + 1 + (int(ids.max()) if len(ids) else 0)
    merged = make_clip_instances(masks, classes, torch.cat((ids, new_ids)).tolist())
    return {**sample, "image": result, "instances": merged}


class _Place:
    """Where the frames of one size lie over those of another; all of them inside, or all over."""

    def __init__(self, size: Sequence[int], other: Sequence[int]) -> None:
        offsets = [
            np.random.randint(min(0, a - b), max(0, a - b) + 1)
            for a, b in zip(size, other, strict=True)
        ]
        ends = [min(a, o + b) for a, b, o in zip(size, other, offsets, strict=True)]
        self._to = tuple(slice(max(o, 0), e) for o, e in zip(offsets, ends, strict=True))
        self._from = tuple(slice(max(-o, 0), e - o) for o, e in zip(offsets, ends, strict=True))

    def __call__(self, source: torch.Tensor, canvas: torch.Tensor) -> torch.Tensor:
        """Put (C, h, w) onto (C, H, W), in place."""
        canvas[(slice(None), *self._to)] = source[(slice(None), *self._from)]
        return canvas


def _choose(count: int) -> torch.Tensor:
    """Rows to paste of as many objects, at least one if there are any."""
    if count == 0:
        return torch.zeros(0, dtype=torch.int64)
    chosen = np.flatnonzero(np.random.rand(count) < _SHARE)
    return torch.as_tensor(chosen if len(chosen) else [np.random.randint(count)])


def _identities(instances: Sequence[Instances]) -> torch.Tensor:
    """The identity of every row of a clip; where an object is invisible, its row has -1."""
    return torch.stack([frame.gt_ids for frame in instances]).amax(0)
