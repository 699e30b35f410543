"""Names in public checkpoints: where the weights are, and which part is the backbone."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

__all__ = [
    "NETWORKS",
    "BackbonePart",
    "current_names",
    "describe_network",
    "find_backbone",
    "find_state_dict",
    "match_names",
]

# The prefix of timm's networks in `TimmBackbone`.
_TIMM = "network."
# In names of EfficientNet and the like, which timm names as MobileNetV2 otherwise.
_SQUEEZE = ".se."

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
    "MobileNetV2": _Network(
        "blocks.3.3.conv_pwl.weight",
        re.compile(r"(conv_stem|bn1|blocks|global_layers)\."),
        "blocks.6.0.conv_pwl.weight",
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

# A tensor that only torchvision's MobileNetV2 has, and the layers that its files call otherwise
# than timm: outside the blocks, in blocks with an expansion and in those without.
_TORCHVISION_STEM = "features.1.conv.0.0.weight"
_TORCHVISION_OUTSIDE = {
    "features.0.0": "conv_stem",
    "features.0.1": "bn1",
    "features.18.0": "conv_head",
    "features.18.1": "bn2",
    "classifier.1": "classifier",
}
_TORCHVISION_EXPANDED = {
    "0.0": "conv_pw",
    "0.1": "bn1",
    "1.0": "conv_dw",
    "1.1": "bn2",
    "2": "conv_pwl",
    "3": "bn3",
}
_TORCHVISION_SEPARABLE = {"0.0": "conv_dw", "0.1": "bn1", "1": "conv_pw", "2": "bn2"}
# Blocks in each of timm's stages.
_MOBILENETV2_STAGES = (1, 2, 3, 4, 3, 3, 1)


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
    MobileNetV2 and timm's MobileNetV4, inside any model: any prefix of the network's own
    names is stripped.
    """
    names = current_names(tensors)
    for network, known in NETWORKS.items():
        prefix = _prefix(names.values(), known.anchor)
        if prefix is None or any(_SQUEEZE in name for name in names):
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


def match_names(own: Iterable[str], file: Collection[str]) -> dict[str, str]:
    """Find the tensors of a backbone in a file, whatever their prefix there.

    Args:
        own: names in the backbone, of which the first tells the prefix of all of them.
        file: names in the file, as `current_names` gives them.

    Returns:
        From names in the backbone to names in the file; those that are not there are left out.
    """
    own = list(own)
    file = set(file)
    prefixes = (_prefix(file, variant) for variant in _variants(own[0]))
    prefix = next((prefix for prefix in prefixes if prefix is not None), "")
    matches = {}
    for name in own:
        found = (prefix + variant for variant in _variants(name) if prefix + variant in file)
        if (match := next(found, None)) is not None:
            matches[name] = match
    return matches


def _variants(name: str) -> Iterator[str]:
    """A name in a backbone, and those that the public file of timm's network may have for it."""
    yield name
    if name.startswith(_TIMM):
        name = name.removeprefix(_TIMM)
        yield name
        # timm's feature extractors write "stages.0" as "stages_0".
        first, _, rest = name.partition(".")
        for position in (i for i, letter in enumerate(first) if letter == "_"):
            yield f"{first[:position]}.{first[position + 1 :]}.{rest}"


def _prefix(names: Iterable[str], anchor: str) -> str | None:
    """The prefix of a name; the shortest if there are several, None if there is no such."""
    found = [n.removesuffix(anchor) for n in names if f".{n}".endswith(f".{anchor}")]
    return min(found, key=len, default=None)


def current_names(names: Iterable[str]) -> dict[str, str]:
    """The names of a file, mapped to those that its network has here, or in timm."""
    names = list(names)
    if any(_prefix(names, stem) is not None for stem in _PUBLIC_STEMS):
        return {
            name: ".".join(_RENAMED.get(part, part) for part in name.split(".")) for name in names
        }
    prefix = _prefix(names, _TORCHVISION_STEM)
    if prefix is not None:
        return {name: _timm_name(name, prefix) for name in names}
    return {name: name for name in names}


def _timm_name(name: str, prefix: str) -> str:
    """timm's name of a tensor of torchvision's MobileNetV2, whose blocks are counted through."""
    layer, _, tensor = name.removeprefix(prefix).rpartition(".")
    if not name.startswith(prefix):
        return name
    if layer in _TORCHVISION_OUTSIDE:
        return f"{prefix}{_TORCHVISION_OUTSIDE[layer]}.{tensor}"
    match = re.fullmatch(r"features\.(\d+)\.conv\.(\S+)", layer)
    if match is None or not 1 <= (number := int(match[1])) <= sum(_MOBILENETV2_STAGES):
        return name
    layers = _TORCHVISION_SEPARABLE if number == 1 else _TORCHVISION_EXPANDED
    stage, block = 0, number - 1
    while block >= _MOBILENETV2_STAGES[stage]:
        block -= _MOBILENETV2_STAGES[stage]
        stage += 1
    return f"{prefix}blocks.{stage}.{block}.{layers.get(match[2], match[2])}.{tensor}"
