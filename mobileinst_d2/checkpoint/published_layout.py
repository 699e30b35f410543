"""What describes a family of published files."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

__all__ = ["PublishedLayout", "rename_backbone"]

# Of Detectron2's ResNet; those of all other backbones are timm's, but for PVTv2.
_DETECTRON2 = re.compile(r"backbone\.(stem|res\d)\.")
# Of PVTv2, with the number of a stage.
_PVT = re.compile(r"(patch_embed|block|norm)(\d)\.")


@dataclass(frozen=True)
class PublishedLayout:
    """The names in the files that the authors of a system have released.

    Attributes:
        system: the meta-architecture here that takes these files, such as "SparseInst".
        anchors: names that such files have, all of them, and that no other file has; checkpoints
            of our own model neither.
        rename: from a name in the file to the model's; None for what no model needs, which is not
            reported.
        unpack: takes tensors of the file apart that are several ones here, under names that
            ``rename`` knows.
    """

    system: str
    anchors: tuple[str, ...]
    rename: Callable[[str], str | None]
    unpack: Callable[[Mapping[str, torch.Tensor]], dict[str, torch.Tensor]] = dict


def rename_backbone(name: str) -> str:
    """From a name in the backbone of a published file to that of our model."""
    name = name.replace(".conv2_offset.", ".conv2.offset.")
    if _DETECTRON2.match(name):
        return name
    name = name.removeprefix("backbone.")
    if match := _PVT.match(name):
        name = _rename_pvt(match[1], int(match[2]) - 1, name[match.end() :])
    return f"backbone.network.{name}"


def _rename_pvt(part: str, stage: int, rest: str) -> str:
    """From PVTv2's own names to timm's, with stages counted from 0."""
    if part == "patch_embed" and stage == 0:
        return f"patch_embed.{rest}"
    parts = {"patch_embed": "downsample", "block": "blocks", "norm": "norm"}
    rest = rest.replace("mlp.dwconv.dwconv.", "mlp.dwconv.")
    return f"stages_{stage}.{parts[part]}.{rest}"
