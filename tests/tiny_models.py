"""A MobileInst that runs in milliseconds and still answers like a trained one."""

from collections.abc import Iterator

import torch
from config_files import read_config
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

_SIZES = {
    "MODEL.NUM_CLASSES": 4,
    "MODEL.TOPFORMER.VARIANT": "tiny",
    "MODEL.BACKBONE.DROP_PATH": 0.0,
    "MODEL.MOBILEINST.HIDDEN_DIM": 64,
    "MODEL.MOBILEINST.INSTANCE_DECODER.NUM_QUERIES": 20,
    "MODEL.MOBILEINST.INSTANCE_DECODER.NUM_HEADS": 4,
    "MODEL.MOBILEINST.INSTANCE_DECODER.LOCAL_POOL_SIZE": 2,
    "MODEL.MOBILEINST.INSTANCE_DECODER.FFN_DIM": 128,
    "MODEL.MOBILEINST.KERNEL_DIM": 32,
    "INPUT.MIN_SIZE_TEST": 96,
    "INPUT.MAX_SIZE_TEST": 160,
}

# Where the backbone is not what is tested: timm's smallest with depthwise convolutions.
FEW_LAYERS = {"MODEL__BACKBONE__NAME": "TimmBackbone", "MODEL__TIMM__NAME": "test_efficientnet"}


def tiny_config(**overrides: object) -> CfgNode:
    """A small variant of the base config; ``__`` in a keyword stands for a dot."""
    cfg = read_config("mobileinst/base.yaml")
    values = _SIZES | {key.replace("__", "."): value for key, value in overrides.items()}
    for key, value in values.items():
        cfg.merge_from_list([key, value])
    return cfg


def config_leaves(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Full names of keys, and their values."""
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from config_leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def build_tiny_model(seed: int = 0, **overrides: object) -> nn.Module:
    """Build the tiny model from a seed, with its initial weights, in training mode."""
    torch.manual_seed(seed)
    return build_model(tiny_config(**overrides))


def build_lively_model(seed: int = 0, **overrides: object) -> nn.Module:
    """Build a tiny model whose masks have shapes, in evaluation mode.

    A fresh network says the same for every query: its heads are small and its residual branches
    start at zero. Here the heads are large, the branches open, and the statistics of the batch
    normalisations are those of noise images.
    """
    model = build_tiny_model(seed, **overrides)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    decoder = model.instance_decoder
    heads = (
        (decoder.class_head, 0.3),
        (decoder.objectness_head, 0.3),
        (decoder.kernel_head[-1], 0.2),
    )
    with torch.no_grad():
        for name, module in model.backbone.named_modules():
            if name.endswith("attn.proj.1.norm"):
                module.weight.fill_(1.0)
        for head, std in heads:
            head.weight.normal_(std=std)
            head.bias.zero_()
        for norm in norms:
            norm.momentum = 1.0
        model.raw_outputs(
            model.preprocess_image([{"image": noise_image(192, 192, s)} for s in range(2)]).tensor
        )
        for norm in norms:
            norm.momentum = 0.1
    return model.eval()


def noise_image(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Smooth noise as an image, (3, height, width) uint8."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 6, 6, generator=generator)
    fine = torch.rand(1, 3, height, width, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")
    return ((0.8 * smooth + 0.2 * fine)[0] * 255).clamp(0, 255).to(torch.uint8)


def moving_video(length: int, height: int = 70, width: int = 101) -> list[torch.Tensor]:
    """A window that slides over a noise image."""
    scene = noise_image(height + 4 * length, width + 6 * length)
    return [scene[:, 4 * t : 4 * t + height, 6 * t : 6 * t + width] for t in range(length)]
