"""Tensors that follow from the size of a layer's input."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import nn

__all__ = ["SizeConstant", "fix_size_constants"]


class SizeConstant(nn.Module, ABC):
    """A tensor that depends on parameters and the size of an input, not on its values.

    It is computed at each call, and a buffer in a network that is made for one size only.
    """

    def __init__(self) -> None:
        """Start without a fixed value."""
        super().__init__()
        self.register_buffer("fixed", None, persistent=False)

    def forward(self, x: torch.Tensor, *options: int | torch.Tensor) -> torch.Tensor:
        """The tensor for an input like ``x``."""
        return self.compute(x, *options) if self.fixed is None else self.fixed

    @abstractmethod
    def compute(self, x: torch.Tensor, *options: int | torch.Tensor) -> torch.Tensor:
        """Compute the tensor for an input of the size, type and device of ``x``."""


@torch.no_grad()
def fix_size_constants(network: nn.Module, run: Callable[[], object]) -> None:
    """Keep the tensors of all :class:`SizeConstant` as buffers.

    Args:
        network: the network that they are in.
        run: feeds an input of the wanted size through the network.
    """
    handles = []

    def keep(layer: nn.Module, inputs: tuple[torch.Tensor], _: torch.Tensor) -> None:
        if layer.fixed is None:
            layer.fixed = layer.compute(*inputs).contiguous()

    for layer in network.modules():
        if isinstance(layer, SizeConstant):
            handles.append(layer.register_forward_hook(keep))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
