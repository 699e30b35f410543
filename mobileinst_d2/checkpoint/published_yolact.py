"""The names in the published files of YOLACT."""

import re

from .published_layout import PublishedLayout

__all__ = ["YOLACT_LAYOUTS"]

# The pyramid counts from coarse to fine, and the ResNet's stages are a list.
_FINEST = 2
_PARTS = {
    "backbone.conv1": "backbone.stem.conv1",
    "backbone.bn1": "backbone.stem.conv1.norm",
    "proto_net.0": "protonet.before.0",
    "proto_net.2": "protonet.before.1",
    "proto_net.4": "protonet.before.2",
    "proto_net.8": "protonet.after",
    "proto_net.10": "protonet.prototypes",
    "prediction_layers.0.upfeature.0": "head.conv",
    "prediction_layers.0.bbox_layer": "head.boxes",
    "prediction_layers.0.conf_layer": "head.classes",
    "prediction_layers.0.mask_layer": "head.coefficients",
    "semantic_seg_conv": "semantic_head",
    "fpn.downsample_layers.0": "pyramid.extra.0",
    "fpn.downsample_layers.1": "pyramid.extra.1",
    # A layer that the first versions had and never used.
    "fpn.downsample_layers.2": None,
}
for _number in range(_FINEST + 1):
    _PARTS[f"fpn.lat_layers.{_number}"] = f"pyramid.laterals.{_FINEST - _number}"
    _PARTS[f"fpn.pred_layers.{_number}"] = f"pyramid.outputs.{_FINEST - _number}"

_BLOCK = re.compile(r"backbone\.layers\.(\d)\.(\d+)\.(conv\d|bn\d|downsample\.[01])")


def _rename(name: str) -> str | None:
    # Files of the first versions have the stages twice.
    if name.startswith("backbone.layer") and not name.startswith("backbone.layers."):
        return None
    part, _, tensor = name.rpartition(".")
    if part in _PARTS:
        return _PARTS[part] and f"{_PARTS[part]}.{tensor}"
    if match := _BLOCK.fullmatch(part):
        stage, block, layer = match.groups()
        layer = layer.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        layer = re.sub(r"bn(\d)", r"conv\1.norm", layer)
        return f"backbone.res{int(stage) + 2}.{block}.{layer}.{tensor}"
    return name


YOLACT_LAYOUTS: tuple[PublishedLayout, ...] = (
    PublishedLayout(
        system="YOLACT",
        anchors=(
            "proto_net.0.weight",
            "prediction_layers.0.conf_layer.weight",
            "fpn.lat_layers.0.weight",
        ),
        rename=_rename,
    ),
)
