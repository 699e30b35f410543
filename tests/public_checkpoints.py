"""State dicts with the names and shapes of public checkpoints, written down without our models."""

import timm
import torch
import torchvision
from random_weights import randomise

State = dict[str, torch.Tensor]

# (kernel, expansion, output channels) of TopFormer's inverted residuals, heads and SIM's width.
TOPFORMER = {
    "tiny": (
        [(3, 1, 16), (3, 4, 16), (3, 3, 16), (5, 3, 32), (5, 3, 32), (3, 3, 64), (3, 3, 64)]
        + [(5, 6, 96), (5, 6, 96)],
        4,
        128,
    ),
    "small": (
        [(3, 1, 16), (3, 4, 24), (3, 3, 24), (5, 3, 48), (5, 3, 48), (3, 3, 96), (3, 3, 96)]
        + [(5, 6, 128), (5, 6, 128), (3, 6, 128)],
        6,
        192,
    ),
    "base": (
        [(3, 1, 16), (3, 4, 32), (3, 3, 32), (5, 3, 64), (5, 3, 64), (3, 3, 128), (3, 3, 128)]
        + [(5, 6, 160), (5, 6, 160), (3, 6, 160)],
        8,
        256,
    ),
}
TOPFORMER_TOKENS = {
    "tiny": (16, 32, 64, 96),
    "small": (24, 48, 96, 128),
    "base": (32, 64, 128, 160),
}
# SeaFormer: five stages of inverted residuals (kernel, expansion, channels, stride), and for the
# last of them depths, key widths and expansions of the transformers; width of the stem, heads.
SEAFORMER = {
    "tiny": (
        "3.1.16.1 3.4.16.2 3.3.16.1 | 5.3.32.2 5.3.32.1 | 3.3.64.2 3.3.64.1 | 5.3.128.2 | "
        "3.6.160.2",
        ((2, 16, 2), (2, 24, 4)),
        (16, 4),
    ),
    "small": (
        "3.1.16.1 3.4.24.2 3.3.24.1 | 5.3.48.2 5.3.48.1 | 3.3.96.2 3.3.96.1 | 5.4.160.2 | "
        "3.6.192.2",
        ((3, 16, 2), (3, 24, 4)),
        (16, 6),
    ),
    "base": (
        "3.1.16.1 3.4.32.2 3.3.32.1 | 5.3.64.2 5.3.64.1 | 3.3.128.2 3.3.128.1 | 5.4.192.2 | "
        "3.6.256.2",
        ((4, 16, 2), (4, 24, 4)),
        (16, 8),
    ),
    "large": (
        "3.3.32.1 3.4.64.2 3.4.64.1 | 5.4.128.2 5.4.128.1 | 3.4.192.2 3.4.192.1 | 5.4.256.2 | "
        "3.6.320.2",
        ((3, 16, 2), (3, 20, 4), (3, 24, 6)),
        (32, 8),
    ),
}
# Repetitions of MobileNetV2's blocks, by stage.
MOBILENETV2 = (1, 2, 3, 4, 3, 3, 1)


def our_name(name: str) -> str:
    """The name that our backbones have for a tensor of TopFormer or SeaFormer."""
    return name.replace(".c.", ".conv.").replace(".bn.", ".norm.")


def our_names(state: State) -> State:
    return {our_name(name): value for name, value in state.items()}


def batch_norm(name: str, channels: int) -> State:
    return {
        f"{name}.weight": torch.rand(channels),
        f"{name}.bias": torch.randn(channels),
        f"{name}.running_mean": torch.randn(channels),
        f"{name}.running_var": torch.rand(channels) + 0.5,
        f"{name}.num_batches_tracked": torch.tensor(7),
    }


def conv_bn(name: str, out: int, inp: int, kernel: int = 1, conv: str = "c") -> State:
    weight = torch.randn(out, inp, kernel, kernel)
    return {f"{name}.{conv}.weight": weight, **batch_norm(f"{name}.bn", out)}


def inverted_residual(name: str, inp: int, kernel: int, expansion: int, out: int) -> State:
    hidden = inp * expansion
    state, first = {}, 0
    if expansion != 1:
        state, first = conv_bn(f"{name}.conv.0", hidden, inp), 2
    state |= conv_bn(f"{name}.conv.{first}", hidden, 1, kernel)
    return state | conv_bn(f"{name}.conv.{first + 2}", out, hidden)


def mlp(name: str, dim: int, hidden: int) -> State:
    return {
        **conv_bn(f"{name}.fc1", hidden, dim),
        f"{name}.dwconv.weight": torch.randn(hidden, 1, 3, 3),
        f"{name}.dwconv.bias": torch.randn(hidden),
        **conv_bn(f"{name}.fc2", dim, hidden),
    }


def topformer_backbone(variant: str, *, sim: bool) -> State:
    blocks, heads, width = TOPFORMER[variant]
    state, channels = conv_bn("tpm.stem.0", 16, 3, 3), 16
    for number, (kernel, expansion, out) in enumerate(blocks, 1):
        state |= inverted_residual(f"tpm.layer{number}", channels, kernel, expansion, out)
        channels = out
    tokens = TOPFORMER_TOKENS[variant]
    dim, key, value = sum(tokens), 16 * heads, 32 * heads
    for i in range(4):
        name = f"trans.transformer_blocks.{i}"
        for part, out in (("to_q", key), ("to_k", key), ("to_v", value)):
            state |= conv_bn(f"{name}.attn.{part}", out, dim)
        state |= conv_bn(f"{name}.attn.proj.1", dim, value)
        state |= mlp(f"{name}.mlp", dim, 2 * dim)
    for i in (1, 2, 3) if sim else ():
        for part in ("local_embedding", "global_embedding", "global_act"):
            state |= conv_bn(f"SIM.{i}.{part}", width, tokens[i], conv="conv")
    return state


def topformer_classifier(variant: str) -> State:
    """The backbone of an ImageNet file, without SIM, and its classifier."""
    dim = sum(TOPFORMER_TOKENS[variant])
    head = {"head.l.weight": torch.randn(1000, dim), "head.l.bias": torch.randn(1000)}
    state = topformer_backbone(variant, sim=False)
    return state | batch_norm("head.bn", dim) | head


def with_segmentation_head(backbone: State) -> State:
    """As in an ADE20K file."""
    state = {f"backbone.{name}": value for name, value in backbone.items()}
    state |= conv_bn("decode_head.linear_fuse", 256, 256, conv="conv")
    state["decode_head.conv_seg.weight"] = torch.randn(150, 256, 1, 1)
    return state


def earliest_topformer(backbone: State) -> State:
    """With the names of the first files."""
    parts = {
        "tpm": "patch_embed",
        "SIM": "fuse_blocks",
        "local_embedding": "to_feat1",
        "global_embedding": "to_feat2",
        "global_act": "fuse2",
    }
    return {
        ".".join(parts.get(part, part) for part in name.split(".")): value
        for name, value in backbone.items()
    }


def seaformer_stages(variant: str) -> list[list[list[int]]]:
    """(kernel, expansion, channels, stride) of the inverted residuals, by stage."""
    return [
        [[int(number) for number in block.split(".")] for block in stage.split()]
        for stage in SEAFORMER[variant][0].split("|")
    ]


def seaformer_transformer(variant: str, stage: int) -> int | None:
    """Number of the transformer after a stage; both are counted from 1."""
    number = stage - 5 + len(SEAFORMER[variant][1])
    return number if number > 0 else None


def seaformer(variant: str) -> State:
    """SeaFormer with its classifier."""
    _, transformers, (channels, heads) = SEAFORMER[variant]
    state = conv_bn("smb1.stem_block.0", channels, 3, 3)
    for stage, blocks in enumerate(seaformer_stages(variant), 1):
        for layer, (kernel, expansion, out, _) in enumerate(blocks, 1):
            name = f"smb{stage}.layer{layer}"
            state |= inverted_residual(name, channels, kernel, expansion, out)
            channels = out
        number = seaformer_transformer(variant, stage)
        depth, key_dim, ratio = transformers[number - 1] if number else (0, 0, 0)
        key, value = heads * key_dim, 2 * heads * key_dim
        for i in range(depth):
            name = f"trans{number}.transformer_blocks.{i}"
            for part, out in (("to_q", key), ("to_k", key), ("to_v", value)):
                state |= conv_bn(f"{name}.attn.{part}", out, channels)
            state |= conv_bn(f"{name}.attn.proj.1", channels, value)
            for axis in ("row", "column"):
                state |= conv_bn(f"{name}.attn.proj_encode_{axis}.1", value, value)
                for part in "qk":
                    embedding = torch.randn(1, key, 16)
                    state[f"{name}.attn.pos_emb_{axis}{part}.pos_embed"] = embedding
            state |= conv_bn(f"{name}.attn.dwconv", 2 * key + value, 1, 3)
            state |= conv_bn(f"{name}.attn.pwconv", channels, 2 * key + value)
            state |= mlp(f"{name}.mlp", channels, ratio * channels)
    head = {"linear.weight": torch.randn(1000, channels), "linear.bias": torch.randn(1000)}
    return state | head


def torchvision_mobilenetv2(width: float = 1.0) -> State:
    """torchvision's own state dict."""
    return dict(randomise(torchvision.models.mobilenet_v2(width_mult=width)).state_dict())


def timm_mobilenetv4() -> State:
    """timm's own state dict of mobilenetv4_conv_small."""
    return dict(randomise(timm.create_model("mobilenetv4_conv_small")).state_dict())


def timm_mobilenetv2(state: State) -> State:
    """torchvision's state dict with timm's names."""
    renamed = {}
    outside = {
        "features.0.0": "conv_stem",
        "features.0.1": "bn1",
        "features.18.0": "conv_head",
        "features.18.1": "bn2",
        "classifier.1": "classifier",
    }
    separable = {"0.0": "conv_dw", "0.1": "bn1", "1": "conv_pw", "2": "bn2"}
    expanded = {"0.0": "conv_pw", "0.1": "bn1", "1.0": "conv_dw", "1.1": "bn2"}
    expanded |= {"2": "conv_pwl", "3": "bn3"}
    blocks = [(stage, i) for stage, number in enumerate(MOBILENETV2) for i in range(number)]
    for name, value in state.items():
        layer, _, tensor = name.rpartition(".")
        if layer in outside:
            renamed[f"{outside[layer]}.{tensor}"] = value
        else:
            _, number, _, part = layer.split(".", 3)
            stage, i = blocks[int(number) - 1]
            part = (separable if number == "1" else expanded)[part]
            renamed[f"blocks.{stage}.{i}.{part}.{tensor}"] = value
    return renamed
