"""Backbones that start from public checkpoints."""

import logging
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from torch import nn

from mobileinst_d2.modeling.backbone import TimmBackbone

from .folded_norm import folded_norms
from .names import current_names, describe_network, find_backbone, find_state_dict, match_names
from .reading import CheckpointError, read_checkpoint

__all__ = [
    "find_backbone_module",
    "load_backbone_content",
    "load_backbone_weights",
    "load_pretrained_backbone",
    "load_timm_weights",
    "name_groups",
    "start_network",
]

logger = logging.getLogger(__name__)

# A file fits if at least this share of the backbone's tensors is in it with name and shape. A
# classification network has all but a few layers; of another size of the same network at most
# two fifths fit, by chance.
_MIN_SHARE = 0.5


def start_network(cfg: CfgNode, model: nn.Module) -> None:
    """Load what the backbone of a new model starts from, and say which parts start at random.

    See `load_pretrained_backbone`, also for errors.
    """
    has_backbone = hasattr(model, "backbone")
    loaded = has_backbone and load_pretrained_backbone(cfg, model)
    trained = {"backbone"} if loaded else set()
    parts = [
        name
        for name, part in model.named_children()
        if name not in trained and next(part.parameters(), None) is not None
    ]
    advice = (
        ""
        if loaded
        else " A small data set cannot train a random backbone: name a public checkpoint in "
        "MODEL.BACKBONE.WEIGHTS, or with TimmBackbone set it to timm."
    )
    logger.warning("Parts that start at random weights: %s.%s", ", ".join(parts), advice)
    if (
        has_backbone
        and not loaded
        and not all(p.requires_grad for p in model.backbone.parameters())
    ):
        logger.warning(
            "MODEL.BACKBONE.FREEZE_AT %d freezes layers of the backbone at random weights: set it "
            "to 0.",
            cfg.MODEL.BACKBONE.FREEZE_AT,
        )


def load_pretrained_backbone(cfg: CfgNode, model: nn.Module) -> bool:
    """Load what a config says that the backbone of a new model starts from.

    ``train_net.py`` does so at the start of a training, unless MODEL.WEIGHTS gives the whole
    model. ``build_model`` does not: models of your own code start at random without this call.

    Args:
        cfg: the config; reads MODEL.BACKBONE.WEIGHTS.
        model: a meta-architecture, in whose ``backbone`` the weights are loaded.

    Returns:
        Whether there was anything to load.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if the file cannot be read or does not fit the backbone, or timm's own
            weights cannot be had.
    """
    weights = cfg.MODEL.BACKBONE.WEIGHTS
    if not weights:
        return False
    backbone = find_backbone_module(model)
    if weights != "timm":
        load_backbone_weights(backbone, weights)
        return True
    if not isinstance(backbone, TimmBackbone):
        raise CheckpointError(
            "MODEL.BACKBONE.WEIGHTS is timm, whose weights are for TimmBackbone, not for "
            f"{type(backbone).__name__}: name a file, or leave it empty"
        )
    load_timm_weights(backbone)
    _check_pixel_statistics(cfg, backbone)
    return True


def find_backbone_module(model: nn.Module) -> nn.Module:
    """The backbone of a model; in Detectron2's FPN it is one level deeper."""
    return getattr(model.backbone, "bottom_up", model.backbone)


def load_timm_weights(backbone: TimmBackbone) -> None:
    """Load the weights that timm publishes for a network, from its cache or from the network.

    The backbone's name may end in the tag of certain weights.

    Raises:
        CheckpointError: if timm has none, or they cannot be had.
    """
    import timm  # takes seconds, and not every model needs it

    logger.info("Looking for the weights of timm's %s in its cache and online.", backbone.name)
    try:
        public = timm.create_model(backbone.name, pretrained=True)
    # The package that downloads has many errors of its own, which have no common base.
    except Exception as error:
        known = timm.get_pretrained_cfg(backbone.name, allow_unregistered=True)
        file = f" (model.safetensors of {known.hf_hub_id})" if known and known.hf_hub_id else ""
        raise CheckpointError(
            f"the weights of timm's {backbone.name} cannot be had: {_first_line(error)} Without a "
            f"connection, name a file that was downloaded elsewhere{file} in "
            "MODEL.BACKBONE.WEIGHTS, or leave that empty to start at random weights."
        ) from error
    load_backbone_content(backbone, public.state_dict(), f"timm's {backbone.name}")


def _check_pixel_statistics(cfg: CfgNode, backbone: TimmBackbone) -> None:
    """Say so where timm's weights were trained with another normalisation of the pixels."""
    import timm

    public = timm.get_pretrained_cfg(backbone.name)
    for key, values in (("PIXEL_MEAN", public.mean), ("PIXEL_STD", public.std)):
        expected = [255 * value for value in values]
        if not np.allclose(cfg.MODEL[key], expected, atol=0.5):
            logger.warning(
                "timm's %s was trained with MODEL.%s %s (RGB), and the config has %s.",
                backbone.name,
                key,
                [round(value, 3) for value in expected],
                list(cfg.MODEL[key]),
            )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".") + "."


def load_backbone_weights(backbone: nn.Module, path: str) -> None:
    """Load a public checkpoint into a backbone, and log what was loaded and what was not.

    Args:
        backbone: the backbone, see `find_backbone` for the known files.
        path: file or URL, as ``MODEL.BACKBONE.WEIGHTS`` names it.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it cannot be read, or is of another network or another size.
    """
    try:
        content = read_checkpoint(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"MODEL.BACKBONE.WEIGHTS: {error}") from error
    load_backbone_content(backbone, content, path)


def load_backbone_content(backbone: nn.Module, content: Any, path: str) -> None:
    """Load what `read_checkpoint` returned for a path into a backbone, and log what was loaded.

    Raises:
        CheckpointError: if fewer than half of the backbone's tensors are in the file with the
            same name and shape; then nothing is loaded.
    """
    tensors, entry = find_state_dict(content)
    if not tensors:
        raise CheckpointError(
            f"{path} holds no mapping of names to tensors, neither itself nor under 'state_dict' "
            "or 'model'."
        )
    part = find_backbone(tensors)
    own = {name: value for name, value in backbone.state_dict().items() if not _is_counter(name)}
    in_file = {new: tensors[old] for old, new in current_names(tensors).items()}
    matches = match_names(own, in_file)
    found = {name: in_file[match] for name, match in matches.items()}
    fitting = {name: value for name, value in found.items() if value.shape == own[name].shape}
    misfits = [name for name in found if name not in fitting]
    example = ""
    if misfits:
        name = misfits[0]
        example = (
            f"For example {name} is {tuple(found[name].shape)} in the file and "
            f"{tuple(own[name].shape)} in the backbone. "
        )
    if len(fitting) < _MIN_SHARE * len(own):
        backbone_name = describe_network(find_backbone(own)) or type(backbone).__name__
        looks_like = f"The file looks like {describe_network(part)}. " if part.network else ""
        raise CheckpointError(
            f"{path} does not fit the backbone {backbone_name}: only {len(fitting)} of its "
            f"{len(own)} tensors are in the file with the same name and shape. {looks_like}"
            f"{example}The file has names like {list(tensors)[:3]}, the backbone {list(own)[:3]}."
        )
    # A plain dict, without the versions of the layers that wrote it.
    backbone.load_state_dict(fitting, strict=False)
    logger.info(
        "%s (%s%s): %d of the backbone's %d tensors are loaded. Left at their random start: %s. "
        "In the file, but not needed: %s.",
        path,
        describe_network(part) or "an unknown network",
        f", entry {entry}" if entry else "",
        len(fitting),
        len(own),
        name_groups((name for name in own if name not in found), own),
        name_groups((name for name in in_file if name not in set(matches.values())), own),
    )
    if misfits:
        logger.warning(
            "%s: %d tensors have another shape than the backbone's, which stay random: %s. %s",
            path,
            len(misfits),
            name_groups(misfits, own),
            example,
        )
    if folded_norms(backbone):
        logger.warning(
            "%s has batch norms whose statistics are folded into the convolutions, which training "
            "breaks. train_net.py re-estimates them at the start; "
            "in a training of your own, set the backbone's NORM to FrozenBN.",
            path,
        )


def _is_counter(name: str) -> bool:
    """Counts of batches, which no network needs to have."""
    return name.endswith("num_batches_tracked")


def name_groups(names: Iterable[str], own: Iterable[str] = ()) -> str:
    """Say which tensors there are, by module and with their numbers.

    Args:
        names: names of tensors; counters of batches are left out.
        own: names of a network; modules that it has too are shown in two levels.

    Returns:
        A text such as "decode_head (7), SIM.1 (15)", or "nothing".
    """
    own_modules = {name.split(".")[0] for name in own}
    groups = Counter()
    for parts in (name.split(".") for name in names if not _is_counter(name)):
        groups[".".join(parts[: 2 if parts[0] in own_modules else 1])] += 1
    return ", ".join(f"{group} ({number})" for group, number in groups.items()) or "nothing"
