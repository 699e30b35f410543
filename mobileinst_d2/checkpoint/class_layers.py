"""Class layers when a training starts from a model of other classes."""

import difflib
import logging
import operator
from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from torch import nn

from mobileinst_d2.data.datasets import is_registered
from mobileinst_d2.data.datasets.builtin import builtin_names
from mobileinst_d2.data.datasets.classes import (
    corresponding_classes,
    dataset_class_names,
    plain_class_names,
)
from mobileinst_d2.utils.classes import METADATA_FILE, class_names_of_weights

from .published import list_names
from .reading import CheckpointError

__all__ = ["adapt_class_layers", "match_classes"]

logger = logging.getLogger(__name__)

Tensors = Mapping[str, torch.Tensor]


def adapt_class_layers(cfg: CfgNode, model: nn.Module, tensors: Tensors) -> Tensors:
    """Make the class layers of a checkpoint fit a model of other classes.

    Without ``MODEL.WARM_START_CLASSES`` a layer of another number of classes keeps the model's
    fresh weights. With it the rows of the classes that match are copied, also where both numbers
    are the same. The log tells what happened.

    Args:
        cfg: the config of the training that starts; ``MODEL.WEIGHTS`` names the checkpoint.
        model: the new model.
        tensors: the checkpoint's tensors by name.

    Returns:
        The tensors to load.

    Raises:
        CheckpointError: if ``MODEL.WARM_START_CLASSES`` is no registered data set, or not the one
            that the checkpoint was trained on.
    """
    own = model.state_dict()
    shared = [name for name in tensors if name in own]
    if cfg.MODEL.WARM_START_CLASSES:
        layers = _class_layers(cfg, own, tensors)
        rows = _matching_rows(cfg, layers, own, tensors)
        adapted = {}
        for name, count in layers.items():
            layer = _by_class(own[name], count).clone()
            found = _by_class(torch.as_tensor(tensors[name]), count)
            for new, old in rows.items():
                layer[new] = found[old]
            if extra := len(layer) - cfg.MODEL.NUM_CLASSES:
                layer[-extra:] = found[-extra:]
            adapted[name] = _by_anchor(layer, count)
        return {**tensors, **adapted}
    if all(tensors[name].shape == own[name].shape for name in shared):
        _warn_of_other_classes(cfg)
        return tensors
    layers = _class_layers(cfg, own, tensors)
    changed = [name for name in layers if tensors[name].shape != own[name].shape]
    if changed:
        logger.warning(
            "%s has a class layer (%s) of %d classes, and this model has %d: the layer starts at "
            "random. To keep the classes that both have, name the data set that the checkpoint "
            "was trained on in MODEL.WARM_START_CLASSES, such as coco_2017_train.",
            cfg.MODEL.WEIGHTS,
            ", ".join(changed),
            _num_classes(cfg, own[changed[0]], tensors[changed[0]], layers[changed[0]]),
            cfg.MODEL.NUM_CLASSES,
        )
    return {**tensors, **{name: own[name] for name in changed}}


def match_classes(old: Sequence[str], new: Sequence[str]) -> dict[int, int]:
    """Which class of a checkpoint each class of a data set can start from, by their names.

    They are those of `corresponding_classes`; where these bring several classes together, the one
    with the most similar name is taken.

    Returns:
        From indices into ``new`` to indices into ``old``; classes without a match are left out.
    """
    plain_old, plain_new = plain_class_names(old), plain_class_names(new)
    candidates = defaultdict(list)
    for row, index in sorted(corresponding_classes(old, new).items()):
        matcher = difflib.SequenceMatcher(None, plain_old[row], plain_new[index])
        candidates[index].append((matcher.ratio(), row))
    # Of equally similar names the first is taken.
    return {
        index: max(rows, key=operator.itemgetter(0))[1]
        for index, rows in sorted(candidates.items())
    }


def _class_layers(cfg: CfgNode, own: Tensors, tensors: Tensors) -> dict[str, int]:
    """The tensors with rows per class, those that grow in a model of one class more, and how many.

    With one row per class, rows of no class may follow, such as FastInst's "no object".
    With several, which belong to anchors, the background is there, too: see `_by_class`. Tensors
    that the checkpoint lacks, or has with rows of another shape, are left out.
    """
    other = cfg.clone()
    other.defrost()
    other.MODEL.NUM_CLASSES += 1
    other.MODEL.DEVICE = "cpu"
    with torch.random.fork_rng(devices=[]):
        larger = build_model(other).state_dict()
    count = cfg.MODEL.NUM_CLASSES
    growth = {name: len(larger[name]) - len(value) for name, value in own.items() if value.ndim}
    return {
        name: rows
        for name, rows in growth.items()
        if rows > 0
        and (len(own[name]) >= count if rows == 1 else len(own[name]) == rows * (count + 1))
        and name in tensors
        and tensors[name].shape[1:] == own[name].shape[1:]
        and len(tensors[name]) % rows == 0
    }


def _by_class(layer: torch.Tensor, anchors: int) -> torch.Tensor:
    """A row for each class, then those of no class.

    Of several anchors, the layer has for one after the other the background and all classes.
    """
    if anchors == 1:
        return layer
    return layer.unflatten(0, (anchors, -1)).transpose(0, 1).roll(-1, 0)


def _by_anchor(rows: torch.Tensor, anchors: int) -> torch.Tensor:
    """The inverse of `_by_class`."""
    return rows if anchors == 1 else rows.roll(1, 0).transpose(0, 1).flatten(0, 1)


def _num_classes(cfg: CfgNode, own: torch.Tensor, tensor: torch.Tensor, rows: int) -> int:
    """How many classes a layer of a checkpoint has."""
    return (len(tensor) - len(own)) // rows + cfg.MODEL.NUM_CLASSES


def _warn_of_other_classes(cfg: CfgNode) -> None:
    """Say so where the class layer fits by its number of classes only."""
    recorded = class_names_of_weights(cfg.MODEL.WEIGHTS)
    if len(recorded) != cfg.MODEL.NUM_CLASSES:
        return
    new = dataset_class_names(cfg.DATASETS.TRAIN[0])
    if plain_class_names(recorded) != plain_class_names(new):
        logger.warning(
            "%s was trained on as many classes as %s has, but on others: %s, ... instead of %s, "
            "... Its class layer is loaded as it is. To give each class its own row, name the "
            "data set that it was trained on in MODEL.WARM_START_CLASSES.",
            cfg.MODEL.WEIGHTS,
            cfg.DATASETS.TRAIN[0],
            ", ".join(recorded[:3]),
            ", ".join(new[:3]),
        )


def _matching_rows(
    cfg: CfgNode, layers: Mapping[str, int], own: Tensors, tensors: Tensors
) -> dict[int, int]:
    """Check ``MODEL.WARM_START_CLASSES`` against the checkpoint, and match the classes."""
    source, weights = cfg.MODEL.WARM_START_CLASSES, cfg.MODEL.WEIGHTS
    if not is_registered(source):
        known = [*DatasetCatalog.list(), *builtin_names()]
        close = difflib.get_close_matches(source, known, n=1, cutoff=0.0)
        raise CheckpointError(
            f"MODEL.WARM_START_CLASSES names no registered data set: {source!r}; the closest is "
            f"{close[0]!r}. Data sets of your own belong into DATASETS.CUSTOM."
        )
    old, new = dataset_class_names(source), dataset_class_names(cfg.DATASETS.TRAIN[0])
    recorded = class_names_of_weights(weights)
    if recorded and plain_class_names(recorded) != plain_class_names(old):
        raise CheckpointError(
            f"MODEL.WARM_START_CLASSES is {source!r}, but {METADATA_FILE} next to {weights} says "
            f"that it was trained on other classes: {list_names(recorded)}."
        )
    sizes = {_num_classes(cfg, own[name], tensors[name], rows) for name, rows in layers.items()}
    if sizes != {len(old)}:
        raise CheckpointError(
            f"MODEL.WARM_START_CLASSES is {source!r} with {len(old)} classes, but {weights} has "
            f"{' and '.join(map(str, sorted(sizes))) or 'no class layer of'} classes."
        )
    rows = match_classes(old, new)
    logger.info(
        "The class layer (%s) starts from %d of the %d classes of %s in %s: %s. These start at "
        "random: %s.",
        ", ".join(layers),
        len(set(rows.values())),
        len(old),
        source,
        weights,
        ", ".join(f"{new[i]} from {old[j]}" for i, j in rows.items()) or "none",
        ", ".join(name for i, name in enumerate(new) if i not in rows) or "none",
    )
    return rows
