"""SparseInst's instance activation maps (IAM), single or in groups."""

import math
from typing import NamedTuple

import torch
from fvcore.nn import weight_init
from torch import nn

from mobileinst_core.options import check_option

from ..layers import conv3x3_stack

__all__ = ["IAMDecoder", "IAMPredictions"]

_ACTIVATIONS = ("sigmoid", "softmax")


class IAMPredictions(NamedTuple):
    """Predictions of N instance activation maps of each image.

    Attributes:
        class_logits: (B, N, K), independent (sigmoid) logits.
        objectness_logits: (B, N), logits of the predicted mask quality.
        kernels: (B, N, D), the weights of the masks.
    """

    class_logits: torch.Tensor
    objectness_logits: torch.Tensor
    kernels: torch.Tensor


class IAMDecoder(nn.Module):
    """Maps that each light up one instance, and heads on the features that they collect.

    With groups, each instance has several maps (the published Group-IAM: 4). Their features are
    concatenated and go through a linear layer.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        num_classes: int,
        num_queries: int = 100,
        dim: int = 256,
        num_convs: int = 4,
        groups: int = 1,
        activation: str = "sigmoid",
        kernel_dim: int = 128,
        prior_prob: float = 0.01,
    ) -> None:
        """Build the decoder.

        Args:
            in_channels: channels of the input map.
            num_classes: number of classes K.
            num_queries: number of instances N.
            dim: channels of the convolutions.
            num_convs: 3x3 convolutions in front of the maps.
            groups: maps per instance; divides ``dim``.
            activation: "sigmoid" with a division by its sum over all positions, or "softmax" over
                all positions.
            kernel_dim: width D of a kernel.
            prior_prob: class probability at the start of training.

        Raises:
            ValueError: if an option is unknown or a count does not fit.
        """
        super().__init__()
        check_option("activation", activation, _ACTIVATIONS)
        if groups < 1 or dim % groups:
            raise ValueError(f"groups is {groups}, choose a divisor of the width {dim}")
        for what, number in (("num_queries", num_queries), ("num_convs", num_convs)):
            if number < 1:
                raise ValueError(f"{what} is {number}, at least 1")
        self.num_queries = num_queries
        self.activation = activation
        self.groups = groups
        self.convs = conv3x3_stack(in_channels, dim, num_convs, norm="")
        self.iam_conv = nn.Conv2d(dim, groups * num_queries, 3, padding=1, groups=groups)
        self.fc = nn.Linear(groups * dim, groups * dim) if groups > 1 else None
        self.class_head = nn.Linear(groups * dim, num_classes)
        self.kernel_head = nn.Linear(groups * dim, kernel_dim)
        self.objectness_head = nn.Linear(groups * dim, 1)
        self._init_weights(prior_prob)

    def _init_weights(self, prior_prob: float) -> None:
        """As the public code starts; the objectness stays as PyTorch makes it."""
        bias = -math.log((1 - prior_prob) / prior_prob)
        for layer, value in ((self.iam_conv, bias), (self.class_head, bias), (self.kernel_head, 0)):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.constant_(layer.bias, value)
        if self.fc is not None:
            weight_init.c2_xavier_fill(self.fc)

    def forward(self, x: torch.Tensor) -> IAMPredictions:
        """Decode the instances of a map (B, in_channels, H, W)."""
        x = self.convs(x)
        queries = self._collect(x)
        if self.fc is not None:
            queries = torch.cat(queries.chunk(self.groups, dim=1), dim=2)
            queries = self.fc(queries).relu()
        return IAMPredictions(
            class_logits=self.class_head(queries),
            objectness_logits=self.objectness_head(queries).squeeze(2),
            kernels=self.kernel_head(queries),
        )

    def _collect(self, x: torch.Tensor) -> torch.Tensor:
        """Features (B, dim, H, W) to those that each map lights up, (B, groups * N, dim)."""
        # Sums over all positions leave the range of half precision.
        with torch.autocast(x.device.type, enabled=False):
            kind = self.iam_conv.weight.dtype
            maps, features = self.iam_conv(x.to(kind)).flatten(2), x.flatten(2).transpose(1, 2)
            wide = torch.promote_types(kind, torch.float32)
            return (self._weights(maps.to(wide)) @ features.to(wide)).to(kind)

    def _weights(self, maps: torch.Tensor) -> torch.Tensor:
        """Logits (B, M, P) of P positions to weights that add up to 1."""
        if self.activation == "softmax":
            return maps.softmax(dim=2)
        activations = maps.sigmoid()
        return activations / activations.sum(dim=2, keepdim=True).clamp(min=1e-6)
