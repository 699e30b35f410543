"""Files, data and final results of a public system."""

import functools
from types import ModuleType

import numpy as np
import torch
from detectron2.structures import BitMasks, Instances
from scipy.optimize import linear_sum_assignment
from torch import nn

# The smallest mask that has to agree in shape, in pixels.
_LARGE = 200
_MIN_IOU = 0.995
# A pixel of stride 4 that rounding puts on the other side of the threshold changes the maskness by
# up to this over the area of the mask, which happens to few masks.
_PIXEL = 0.55 * 16
_SHARE_BEYOND = 0.02


def official_file(published: ModuleType, variant: str, path: str, wrapper: str = "") -> str:
    """Write what the public system has released, with weights by rule, and return where."""
    content = _checkpoint(published, variant)
    torch.save({wrapper: content} if wrapper else content, path)
    return str(path)


@functools.lru_cache(maxsize=1)
def _checkpoint(published: ModuleType, variant: str) -> dict:
    return published.checkpoint(variant)


def zeros_file(published: ModuleType, variant: str, path: str) -> str:
    """A file with the published names and shapes, and zeros."""
    entries = published.keys(variant)["state_dict"]
    state = {name: torch.zeros(shape, dtype=getattr(torch, kind)) for name, shape, kind in entries}
    torch.save(state, path)
    return str(path)


def records(published: ModuleType, meta: dict, predictor: object) -> list[dict]:
    """What Detectron2's data loader makes of the images of a case."""
    batch = []
    for spec in meta["images"]:
        image = np.ascontiguousarray(published.image(spec)[:, :, ::-1])
        prepared = torch.from_numpy(predictor.prepare(image))
        batch.append({"image": prepared, "height": image.shape[0], "width": image.shape[1]})
    return batch


def watch(*parts: nn.Module) -> list:
    """What parts of a model will give, in the order in which they run."""
    seen = []
    for part in parts:
        part.register_forward_hook(lambda module, args, output: seen.append(output))
    return seen


def check_results(published: ModuleType, expected: dict, instances: Instances) -> None:
    """Assert that instances are those of an entry of ``meta["results"]``, in any order."""
    masks = published.masks(expected)
    shown = masks.any((1, 2))
    masks, scores, classes = (
        np.asarray(x)[shown] for x in (masks, expected["scores"], expected["classes"])
    )
    assert len(instances) == len(masks)
    found = instances.to("cpu")
    wanted_flat = masks.reshape(len(masks), -1).astype(np.float32)
    found_flat = found.pred_masks.flatten(1).numpy().astype(np.float32)
    intersection = wanted_flat @ found_flat.T
    iou = intersection / (wanted_flat.sum(1)[:, None] + found_flat.sum(1) - intersection)
    same_class = classes[:, None] == found.pred_classes.numpy()
    difference = np.abs(scores[:, None] - found.scores.numpy())
    rows, columns = linear_sum_assignment(same_class * iou - difference, maximize=True)
    assert same_class[rows, columns].all()
    area = wanted_flat.sum(1)[rows]
    large = area >= _LARGE
    assert large.any()
    assert iou[rows, columns][large].min() >= _MIN_IOU
    beyond = difference[rows, columns] - 10 * expected["float64"]["scores_max"] - 1e-5
    assert (beyond > 0).mean() <= _SHARE_BEYOND
    assert (beyond <= _PIXEL / area).all()


def truth(targets: dict) -> Instances:
    """The objects of an image, as ``rule.targets`` gives them."""
    instances = Instances(targets["masks"].shape[1:])
    instances.gt_classes = torch.from_numpy(targets["labels"])
    instances.gt_masks = BitMasks(torch.from_numpy(targets["masks"]))
    return instances
