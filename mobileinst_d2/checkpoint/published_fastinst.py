"""The names in the published files of FastInst."""

import re
from collections.abc import Mapping

import torch

from .published_layout import PublishedLayout, rename_backbone

__all__ = ["FASTINST_LAYOUTS"]

_PIXELS = r"sem_seg_head\.pixel_decoder\."
_PREDICTOR = r"sem_seg_head\.predictor\."
_LAYERS = rf"{_PREDICTOR}transformer_"
# Patterns of names, and what they are here.
_RENAMED = [
    (re.compile(pattern), name)
    for pattern, name in (
        (rf"{_PIXELS}ppm\.stages\.(\d)\.1\.(.*)", r"pixel_decoder.ppm.branches.\1.conv.\2"),
        (rf"{_PIXELS}ppm\.bottleneck\.(.*)", r"pixel_decoder.ppm.bottleneck.conv.\1"),
        (rf"{_PREDICTOR}meta_pos_embed", r"decoder.position"),
        (rf"{_PREDICTOR}empty_query_features\.(.*)", r"decoder.aux_queries.\1"),
        (rf"{_PREDICTOR}empty_query_pos_embed\.(.*)", r"decoder.aux_position.\1"),
        (
            rf"{_PREDICTOR}query_proposal\.conv_proposal_cls_logits\.0\.(.*)",
            r"decoder.proposals.conv.\1",
        ),
        (
            rf"{_PREDICTOR}query_proposal\.conv_proposal_cls_logits\.2\.(.*)",
            r"decoder.proposals.classifier.\1",
        ),
        (
            rf"{_LAYERS}mask_cross_attention_layers\.(\d+)\.norm\.(.*)",
            r"decoder.layers.\1.pixel_norm.\2",
        ),
        (
            rf"{_LAYERS}mask_cross_attention_layers\.(\d+)\.multihead_attn\.(.*)",
            r"decoder.layers.\1.pixel_attention.\2",
        ),
        (rf"{_LAYERS}mask_ffn_layers\.(\d+)\.(.*)", r"decoder.layers.\1.pixel_ffn.\2"),
        (
            rf"{_LAYERS}query_(cross|self)_attention_layers\.(\d+)\.norm\.(.*)",
            r"decoder.layers.\2.query_layer.\1_norm.\3",
        ),
        (
            rf"{_LAYERS}query_(cross|self)_attention_layers\.(\d+)\.(?:multihead|self)_attn\.(.*)",
            r"decoder.layers.\2.query_layer.\1_attention.\3",
        ),
        (rf"{_LAYERS}query_ffn_layers\.(\d+)\.(.*)", r"decoder.layers.\1.query_ffn.\2"),
        (rf"{_PREDICTOR}decoder_query_norm_layers\.(\d+)\.(.*)", r"decoder.heads.\1.norm.\2"),
        (rf"{_PREDICTOR}mask_features_layers\.(\d+)\.(.*)", r"decoder.heads.\1.mask_features.\2"),
    )
]
_LEVEL = re.compile(rf"{_PIXELS}(adapter|layer)_(\d)\.(.*)")
_LEVEL_PARTS = {"adapter": "laterals", "layer": "outputs"}
_MLP = re.compile(rf"{_PREDICTOR}(class|mask)_embed_layers\.(\d+)\.layers\.(\d)\.(.*)")
# Attention is packed in the files.
_PACKED = re.compile(r"(.*\.)in_proj_(weight|bias)")


def _rename(name: str) -> str | None:
    """The name here; None for what belongs to the loss, which stands twice in the files."""
    if name.endswith("criterion.empty_weight"):
        return None
    if name.startswith("backbone."):
        return rename_backbone(name)
    if match := _LEVEL.fullmatch(name):
        # Level 1 is the finest, as here.
        part, level, rest = match.groups()
        layer = rest if rest.startswith("norm.") else f"conv.{rest}"
        return f"pixel_decoder.{_LEVEL_PARTS[part]}.{int(level) - 1}.{layer}"
    if match := _MLP.fullmatch(name):
        kind, head, layer, rest = match.groups()
        return f"decoder.heads.{head}.{kind}_head.{2 * int(layer)}.{rest}"
    for pattern, ours in _RENAMED:
        if match := pattern.fullmatch(name):
            return match.expand(ours)
    return name


def _unpack(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Take the projections of attention apart."""
    unpacked = {}
    for name, tensor in tensors.items():
        if match := _PACKED.fullmatch(name):
            for projection, part in zip(("q", "k", "v"), tensor.chunk(3), strict=True):
                unpacked[f"{match[1]}{projection}_proj.{match[2]}"] = part
        else:
            unpacked[name] = tensor
    return unpacked


FASTINST_LAYOUTS: tuple[PublishedLayout, ...] = (
    PublishedLayout(
        system="FastInst",
        anchors=(
            "sem_seg_head.predictor.meta_pos_embed",
            "sem_seg_head.pixel_decoder.adapter_1.weight",
        ),
        rename=_rename,
        unpack=_unpack,
    ),
)
