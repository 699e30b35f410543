"""SeaFormer against its tables and formulas, written out here a second time."""

import math

import pytest
import torch
import torch.nn.functional as F
from public_checkpoints import (
    SEAFORMER,
    our_name,
    seaformer,
    seaformer_stages,
    seaformer_transformer,
)
from random_weights import randomise

from mobileinst_d2.modeling import SeaFormer
from mobileinst_d2.modeling.backbone.seaformer import AxialPosition

CHANNELS = {
    "tiny": [32, 64, 128, 160],
    "small": [48, 96, 160, 192],
    "base": [64, 128, 192, 256],
    "large": [128, 192, 256, 320],
}


@pytest.mark.parametrize("variant", SEAFORMER)
def test_names_and_shapes_are_those_of_the_public_checkpoints(variant):
    model, state = SeaFormer(variant=variant), seaformer(variant)
    shapes = {our_name(name): x.shape for name, x in state.items() if "linear" not in name}
    assert {name: x.shape for name, x in model.state_dict().items()} == shapes
    assert [spec.channels for spec in model.output_shape().values()] == CHANNELS[variant]


class WrittenOut:
    """The network from its formulas and a state dict."""

    def __init__(self, variant: str, state: dict[str, torch.Tensor]) -> None:
        self.variant = variant
        self.state = state
        _, self.transformers, (_, self.heads) = SEAFORMER[variant]

    def conv_bn(self, name: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        weight = self.state[f"{name}.conv.weight"]
        groups = x.shape[1] // weight.shape[1]
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[2] // 2, groups=groups)
        mean, var, scale, shift = (
            self.state[f"{name}.norm.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    def position(self, name: str, length: int) -> torch.Tensor:
        """Position vectors (channels, length), between the two nearest of the sixteen."""
        table = self.state[f"{name}.pos_embed"][0]
        columns = []
        for i in range(length):
            where = min(max((i + 0.5) * 16 / length - 0.5, 0.0), 15.0)
            left = min(int(where), 14)
            columns.append(
                table[:, left] * (left + 1 - where) + table[:, left + 1] * (where - left)
            )
        return torch.stack(columns, 1)

    def axial(
        self, name: str, axis: str, key_dim: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
    ) -> torch.Tensor:
        """Attention over averaged maps (channels, N) of one image, query by query."""
        length = q.shape[1]
        q = q + self.position(f"{name}.pos_emb_{axis}q", length)
        k = k + self.position(f"{name}.pos_emb_{axis}k", length)
        out = torch.zeros_like(v)
        for head in range(self.heads):
            keys = slice(head * key_dim, (head + 1) * key_dim)
            values = slice(head * 2 * key_dim, (head + 1) * 2 * key_dim)
            for i in range(length):
                logits = [q[keys, i] @ k[keys, j] / math.sqrt(key_dim) for j in range(length)]
                weights = torch.stack(logits).softmax(0)
                out[values, i] = sum(weights[j] * v[values, j] for j in range(length))
        return out

    def attention(self, name: str, key_dim: int, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (self.conv_bn(f"{name}.to_{part}", x) for part in "qkv")
        detail = self.conv_bn(f"{name}.dwconv", torch.cat((q, k, v), 1)).clamp(0, 6)
        detail = self.conv_bn(f"{name}.pwconv", detail)
        total = v
        for axis, averaged in (("row", 3), ("column", 2)):
            maps = [y.mean(averaged) for y in (q, k, v)]
            out = torch.stack(
                [self.axial(name, axis, key_dim, *parts) for parts in zip(*maps, strict=True)]
            )
            out = self.conv_bn(f"{name}.proj_encode_{axis}.1", out.unsqueeze(averaged).clamp(0, 6))
            total = total + out
        gate = self.conv_bn(f"{name}.proj.1", total.clamp(0, 6))
        return (gate + 3).clamp(0, 6) / 6 * detail

    def mlp(self, name: str, x: torch.Tensor) -> torch.Tensor:
        x = self.conv_bn(f"{name}.fc1", x)
        weight, bias = self.state[f"{name}.dwconv.weight"], self.state[f"{name}.dwconv.bias"]
        x = F.conv2d(x, weight, bias, padding=1, groups=len(weight)).clamp(0, 6)
        return self.conv_bn(f"{name}.fc2", x)

    def __call__(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        features = {}
        x = self.conv_bn("smb1.stem_block.0", x, 2).clamp(min=0)
        for stage, blocks in enumerate(seaformer_stages(self.variant), 1):
            for layer, (_, expansion, outputs, stride) in enumerate(blocks, 1):
                name, hidden, first = f"smb{stage}.layer{layer}.conv", x, 0
                if expansion != 1:
                    hidden, first = self.conv_bn(f"{name}.0", x).clamp(min=0), 2
                hidden = self.conv_bn(f"{name}.{first}", hidden, stride).clamp(min=0)
                out = self.conv_bn(f"{name}.{first + 2}", hidden)
                x = x + out if (stride, x.shape[1]) == (1, outputs) else out
            number = seaformer_transformer(self.variant, stage)
            depth, key_dim, _ = self.transformers[number - 1] if number else (0, 0, 0)
            for i in range(depth):
                name = f"trans{number}.transformer_blocks.{i}"
                x = x + self.attention(f"{name}.attn", key_dim, x)
                x = x + self.mlp(f"{name}.mlp", x)
            features[f"x{stage + 1}"] = x
        return features


@pytest.mark.parametrize("variant", SEAFORMER)
def test_outputs_equal_the_formulas(variant):
    # Double precision: the layers of a random network magnify what single precision rounds.
    model = randomise(SeaFormer(variant=variant)).eval().double()
    x = torch.randn(2, 3, 75, 129, dtype=torch.float64)
    with torch.no_grad():
        features = model(x)
        expected = WrittenOut(variant, model.state_dict())(x)
    assert features["x6"].shape[2:] == (2, 3)
    for name, value in features.items():
        scale = expected[name].abs().max()
        torch.testing.assert_close(value / scale, expected[name] / scale, atol=1e-5, rtol=0)


def test_positions_are_taken_as_they_are_at_their_own_length():
    layer = AxialPosition(5)
    torch.testing.assert_close(layer(torch.zeros(2, 5, 16)), layer.pos_embed.expand(2, -1, -1))


def test_a_new_transformer_gates_the_details_by_a_half():
    # The projections of the attention start at zero: the gate is h-sigmoid(0).
    layer = SeaFormer(variant="tiny").eval().trans1.transformer_blocks[0].attn
    x = torch.randn(1, 128, 3, 4)
    parts = torch.cat((layer.to_q(x), layer.to_k(x), layer.to_v(x)), 1)
    expected = layer.pwconv(layer.dwconv(parts).clamp(0, 6)) / 2
    torch.testing.assert_close(layer(x), expected)


def test_stochastic_depth_grows_linearly_inside_each_stage():
    model = SeaFormer(variant="large", drop_path=0.2)
    for stage in (model.trans1, model.trans2, model.trans3):
        rates = [block.drop_path.probability for block in stage.transformer_blocks]
        assert rates == pytest.approx([0.0, 0.1, 0.2])
