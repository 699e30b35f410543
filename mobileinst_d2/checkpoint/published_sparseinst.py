"""The names in the published files of SparseInst."""

import re

from .published_layout import PublishedLayout, rename_backbone

__all__ = ["SPARSEINST_LAYOUTS"]

_LEVELS = 3

# Modules of the decoder that have another name here.
_DECODER = {
    "inst_branch.iam_conv": "instance_decoder.iam_conv",
    "inst_branch.fc": "instance_decoder.fc",
    "inst_branch.cls_score": "instance_decoder.class_head",
    "inst_branch.mask_kernel": "instance_decoder.kernel_head",
    "inst_branch.objectness": "instance_decoder.objectness_head",
    "mask_branch.projection": "mask_branch.projection.conv",
}
_STACKS = {"inst_branch.inst_convs": "instance_decoder", "mask_branch.mask_convs": "mask_branch"}


def _rename(name: str) -> str | None:
    """From a published name to that of :class:`SparseInst`."""
    module, _, tensor = name.rpartition(".")
    if name.startswith("backbone."):
        return rename_backbone(name)
    if module.startswith("encoder."):
        return f"{_rename_encoder(module)}.{tensor}"
    inner = module.removeprefix("decoder.")
    stack, _, index = inner.rpartition(".")
    if stack in _STACKS:  # ReLUs are counted, too
        return f"{_STACKS[stack]}.convs.{int(index) // 2}.conv.{tensor}"
    if tensor == "softmax_bias":
        return None  # a softmax is the same with any constant added
    return f"{_DECODER.get(inner, module)}.{tensor}"


def _rename_encoder(module: str) -> str:
    if match := re.fullmatch(r"encoder\.fpn_(laterals|outputs)\.(\d+)", module):
        # The coarsest level is the first one there.
        level = _LEVELS - 1 - int(match[2])
        kind = "laterals" if match[1] == "laterals" else "top_down.convs"
        return f"encoder.{kind}.{level}.conv"
    if match := re.fullmatch(r"encoder\.ppm\.stages\.(\d+)\.1", module):
        return f"encoder.ppm.branches.{match[1]}.conv"
    return f"{module}.conv"


SPARSEINST_LAYOUTS = (
    PublishedLayout(
        system="SparseInst",
        anchors=("encoder.fpn_laterals.0.weight", "decoder.inst_branch.iam_conv.weight"),
        rename=_rename,
    ),
)
