"""Whole models in the files that their authors released, found by their names."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import nn

from .backbones import name_groups
from .published_fastinst import FASTINST_LAYOUTS
from .published_layout import PublishedLayout
from .published_sparseinst import SPARSEINST_LAYOUTS
from .published_yolact import YOLACT_LAYOUTS
from .reading import CheckpointError

__all__ = [
    "PUBLISHED_LAYOUTS",
    "PublishedLayout",
    "find_published_layout",
    "list_names",
    "rename_published",
]

logger = logging.getLogger(__name__)

PUBLISHED_LAYOUTS: tuple[PublishedLayout, ...] = (
    *SPARSEINST_LAYOUTS,
    *FASTINST_LAYOUTS,
    *YOLACT_LAYOUTS,
)

# Names in a message.
_SHOWN = 4


def find_published_layout(names: Collection[str]) -> PublishedLayout | None:
    """The layout of the file that has these names; None if it is of no published model."""
    names = set(names)
    for layout in PUBLISHED_LAYOUTS:
        if names.issuperset(layout.anchors):
            return layout
    return None


def rename_published(
    layout: PublishedLayout, tensors: Mapping[str, torch.Tensor], model: nn.Module, source: str
) -> dict[str, torch.Tensor]:
    """Give the tensors of a published file the model's names, and log what fits.

    A file fits if it has every tensor of the model and no other one. Shapes may differ, as of a
    class layer in front of a training: whoever loads the result has to look at them.

    Args:
        layout: what `find_published_layout` found.
        tensors: the file's, by name.
        model: the network.
        source: name of the file, for messages.

    Returns:
        The tensors that the model has, by the model's names.

    Raises:
        CheckpointError: if the file is of another system than the model, or of another network or
            variant of it; the message names tensors.
    """
    classes = [base.__name__ for base in type(model).__mro__]
    if layout.system not in classes:
        raise CheckpointError(
            f"{source} is a published file of {layout.system}, and the model is {classes[0]}. Use "
            f"a config of {layout.system}, such as those in configs/{layout.system.lower()}."
        )
    tensors = layout.unpack(tensors)
    renamed = {layout.rename(name): name for name in tensors}
    not_needed = [name for name in tensors if layout.rename(name) is None]
    renamed.pop(None, None)
    own = model.state_dict()
    missing = _without_counters(own.keys() - renamed.keys(), own)
    unknown = _without_counters(renamed.keys() - own.keys(), renamed)
    if missing or unknown:
        raise CheckpointError(
            f"{source}, a published file of {layout.system}, is of another network than this "
            f"config: {list_names(missing)} of the model are not in the file, and "
            f"{list_names([renamed[name] for name in unknown])} of the file are not in the model. "
            f"docs/checkpoints.md says which config belongs to which file."
        )
    found = {name: tensors[renamed[name]] for name in own if name in renamed}
    counted = _without_counters(own, own)
    random = [name for name in counted if found[name].shape != own[name].shape]
    logger.info(
        "%s (published %s): %d of the model's %d tensors are loaded. Left at their random start: "
        "%s. In the file, but not needed: %s.",
        source,
        layout.system,
        len(counted) - len(random),
        len(counted),
        ", ".join(random) or "nothing",
        name_groups(not_needed),
    )
    return found


def _without_counters(names: Collection[str], order: Iterable[str]) -> list[str]:
    """The names in this order, without counts of batches, which no network needs to have."""
    return [name for name in order if name in names and not name.endswith("num_batches_tracked")]


def list_names(names: Sequence[str]) -> str:
    """The first of some names of tensors, for a message."""
    if not names:
        return "no tensors"
    more = f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
