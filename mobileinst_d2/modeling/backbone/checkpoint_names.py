"""Names in public checkpoints: where the weights stand, and which part is the backbone."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

__all__ = ["NETWORKS", "BackbonePart", "describe_network", "find_backbone", "find_state_dict"]

# Entries that hold weights, the preferred first: averages over the training are what the
# published scores were measured with. "module" stands inside some averages.
_ENTRIES = ("state_dict_ema", "model_ema", "ema_state_dict", "state_dict", "model", "module")


class _Network(NamedTuple):
    """How the names of a public network are known.

    Attributes:
        anchor: a name that no other of the networks has.
        part: pattern of the names of the backbone; the others are the classifier's or a head's.
        size_name: the tensor that tells the size ...
        size_axis: ... by its extent along this axis ...
        sizes: ... among these.
    """

    anchor: str
    part: re.Pattern
    size_name: str
    size_axis: int
    sizes: dict[int, str]


NETWORKS = {
    "TopFormer": _Network(
        "tpm.stem.0.conv.weight",
        re.compile(r"(tpm|trans|SIM)\."),
        "trans.transformer_blocks.0.attn.to_q.conv.weight",
        1,
        {208: "Tiny", 296: "Small", 384: "Base"},
    ),
    "SeaFormer": _Network(
        "smb1.stem_block.0.conv.weight",
        re.compile(r"(smb|trans)\d\."),
        "smb5.layer1.conv.4.conv.weight",
        0,
        {160: "Tiny", 192: "Small", 256: "Base", 320: "Large"},
    ),
    # Layer 18 belongs to the classifier.
    "MobileNetV2": _Network(
        "features.1.conv.0.0.weight",
        re.compile(r"(features\.(\d|1[0-7])|global_layers)\."),
        "features.17.conv.2.weight",
        0,
        {160: "0.5", 240: "0.75", 320: "1.0", 352: "1.1", 384: "1.2", 448: "1.4"},
    ),
    # Stage 4 belongs to the classifier.
    "MobileNetV4": _Network(
        "blocks.2.0.dw_start.conv.weight",
        re.compile(r"(conv_stem|bn1|blocks\.[0-3]|global_layers)\."),
        "blocks.2.0.dw_start.conv.weight",
        0,
        {24: "Small-0.35", 32: "Small-0.5", 64: "Small", 80: "Medium", 96: "Large"},
    ),
}

# Tensors that only the public files of TopFormer (earliest and later ones) and SeaFormer have.
_PUBLIC_STEMS = (
    "patch_embed.stem.0.c.weight",
    "tpm.stem.0.c.weight",
    "smb1.stem_block.0.c.weight",
)
# Parts of names in those files, and what they are called here.
_RENAMED = {
    "c": "conv",
    "bn": "norm",
    "patch_embed": "tpm",
    "fuse_blocks": "SIM",
    "to_feat1": "local_embedding",
    "to_feat2": "global_embedding",
    "fuse2": "global_act",
}

# Layers of MobileNetV2's blocks in timm, and in torchvision: with an expansion and without.
_TIMM_EXPANDED = {
    "conv_pw": "conv.0.0",
    "bn1": "conv.0.1",
    "conv_dw": "conv.1.0",
    "bn2": "conv.1.1",
    "conv_pwl": "conv.2",
    "bn3": "conv.3",
}
_TIMM_SEPARABLE = {"conv_dw": "conv.0.0", "bn1": "conv.0.1", "conv_pw": "conv.1", "bn2": "conv.2"}
_TIMM_OUTSIDE = {
    "conv_stem": "features.0.0",
    "bn1": "features.0.1",
    "conv_head": "features.18.0",
    "bn2": "features.18.1",
}


class BackbonePart(NamedTuple):
    """The backbone in a file.

    Attributes:
        network: key of `NETWORKS`; "" if the file is of none, then its names are as they were.
        tensors: the backbone's tensors, under the names that our backbones have.
        others: names in the file of what is not the backbone's.
    """

    network: str
    tensors: dict[str, torch.Tensor]
    others: list[str]


def find_state_dict(content: Any) -> tuple[dict[str, torch.Tensor], str]:
    """Find the weights in a checkpoint, averaged ones before others.

    Args:
        content: what the file holds.

    Returns:
        Tensors by name, without the prefix of wrappers for several processes, and the entry that
        they stood in, such as "state_dict_ema"; "" for the content itself. No tensors if there
        are none.
    """
    if not isinstance(content, Mapping):
        return {}, ""
    for key in _ENTRIES:
        tensors, entry = find_state_dict(content.get(key))
        if tensors:
            return tensors, f"{key}.{entry}".rstrip(".")
    tensors = {str(name): _as_tensor(value) for name, value in content.items() if _is_data(value)}
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors, ""


def _is_data(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufc"
    return isinstance(value, torch.Tensor)


def _as_tensor(value: torch.Tensor | np.ndarray) -> torch.Tensor:
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value.detach()


def find_backbone(tensors: Mapping[str, torch.Tensor]) -> BackbonePart:
    """Take the backbone out of a state dict of a public network, or of one of our models.

    Known are the layouts of TopFormer (also the earliest), SeaFormer, torchvision's and timm's
    MobileNetV2 and timm's MobileNetV4, inside any model: whatever stands before the network's own
    names is left away.

    Args:
        tensors: tensors by name.

    Returns:
        The backbone and what else there is.
    """
    names = _our_names(tensors)
    for network, known in NETWORKS.items():
        prefix = _prefix(names.values(), known.anchor)
        if prefix is None:
            continue
        part, others = {}, []
        for old, new in names.items():
            inner = new.removeprefix(prefix)
            if new.startswith(prefix) and known.part.match(inner):
                part[inner] = tensors[old]
            else:
                others.append(old)
        return BackbonePart(network, part, others)
    return BackbonePart("", dict(tensors), [])


def describe_network(part: BackbonePart) -> str:
    """Name and size of a network, such as "TopFormer-Base"; "" if it is none of those known."""
    if not part.network:
        return ""
    known = NETWORKS[part.network]
    tensor = part.tensors.get(known.size_name)
    size = None if tensor is None else known.sizes.get(tensor.shape[known.size_axis])
    return f"{part.network}-{size}" if size else part.network


def _prefix(names: Iterable[str], anchor: str) -> str | None:
    """What stands before a name; the shortest if there are several, None if there is no such."""
    found = [n.removesuffix(anchor) for n in names if f".{n}".endswith(f".{anchor}")]
    return min(found, key=len, default=None)


def _our_names(names: Iterable[str]) -> dict[str, str]:
    """The names of a file, mapped to those that its network has today, or in torchvision."""
    names = list(names)
    if any(_prefix(names, stem) is not None for stem in _PUBLIC_STEMS):
        return {
            name: ".".join(_RENAMED.get(part, part) for part in name.split(".")) for name in names
        }
    prefix = _prefix(names, "conv_stem.weight")
    # Squeeze and excitation, or MobileNetV4's blocks: other networks that timm names in this way.
    foreign = any(part in name for name in names for part in (".se.", ".dw_start."))
    if prefix is not None and not foreign:
        return _torchvision_names(names, prefix)
    return {name: name for name in names}


def _torchvision_names(names: list[str], prefix: str) -> dict[str, str]:
    """Map timm's names of MobileNetV2, whose blocks are counted inside stages."""
    pattern = re.compile(rf"{re.escape(prefix)}blocks\.(\d+)\.(\d+)\.(\w+)\.(.+)")
    blocks = {name: match.groups() for name in names if (match := pattern.fullmatch(name))}
    numbered = {(int(stage), int(block)) for stage, block, _, _ in blocks.values()}
    expanded = {(stage, block) for stage, block, layer, _ in blocks.values() if layer == "conv_pwl"}
    sizes = Counter(stage for stage, _ in numbered)
    renamed = {}
    for name in names:
        if name in blocks:
            stage, block, layer, rest = blocks[name]
            layers = _TIMM_EXPANDED if (stage, block) in expanded else _TIMM_SEPARABLE
            number = 1 + sum(sizes[i] for i in range(int(stage))) + int(block)
            renamed[name] = f"{prefix}features.{number}.{layers.get(layer, layer)}.{rest}"
        else:
            layer, _, rest = name.removeprefix(prefix).partition(".")
            known = name.startswith(prefix) and layer in _TIMM_OUTSIDE
            renamed[name] = f"{prefix}{_TIMM_OUTSIDE[layer]}.{rest}" if known else name
    return renamed
