"""Networks in the form that other runtimes take: an image of one size in, tensors out."""

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from .backbone.base import MobileBackbone
from .layers import fix_size_constants

__all__ = ["ExportGraph", "build_export_graphs"]

_Compute = Callable[[nn.Module, torch.Tensor], dict[str, torch.Tensor]]


class ExportGraph(nn.Module):
    """A part of a network for one image of a fixed size, with the normalisation inside.

    Attributes:
        input_name: name of the input, "image": (1, 3, H, W), float32 in [0, 255], channels in the
            order of ``INPUT.FORMAT``. An image smaller than that stands top left, and the rest
            has the values of ``pixel_mean``.
        output_names: names of the outputs, in order.
        size: (H, W).
    """

    input_name = "image"

    def __init__(
        self,
        network: nn.Module,
        compute: _Compute,
        output_names: Sequence[str],
        size: tuple[int, int],
    ) -> None:
        """Make a graph.

        Args:
            network: in evaluation mode, with ``pixel_mean`` and ``pixel_std``.
            compute: maps the network and a normalised image to named tensors.
            output_names: those of them to return.
            size: (H, W) of the image.
        """
        super().__init__()
        self.network = network
        self.compute = compute
        self.output_names = tuple(output_names)
        self.size = tuple(size)

    def example_input(self) -> torch.Tensor:
        """Noise as an image, always the same: (1, 3, H, W) in [0, 255]."""
        noise = torch.rand(1, 3, *self.size, generator=torch.Generator().manual_seed(0))
        return 255 * noise.to(self.network.pixel_mean.device)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run the graph.

        Args:
            image: (1, 3, H, W), see the class.

        Returns:
            The tensors of ``output_names``.

        Raises:
            ValueError: if the image has another shape.
        """
        with _NumbersAsSizes() if torch.jit.is_tracing() else nullcontext():
            if image.shape != (1, 3, *self.size):
                raise ValueError(
                    f"the image has the shape {tuple(image.shape)}, and this graph was made for "
                    f"{(1, 3, *self.size)}"
                )
            outputs = self.compute(
                self.network, (image - self.network.pixel_mean) / self.network.pixel_std
            )
        return tuple(outputs[name] for name in self.output_names)


def build_export_graphs(
    model: nn.Module,
    parts: Mapping[str, tuple[_Compute, Sequence[str]]],
    size: tuple[int, int],
    divisor: int,
) -> dict[str, nn.Module]:
    """Make the graphs of a model, on one copy of it.

    Args:
        model: with ``pixel_mean`` and ``pixel_std``; it stays as it is.
        parts: for each graph what it computes and the names of its outputs, see
            :class:`ExportGraph`.
        size: (H, W) of the image.
        divisor: what both sides must be multiples of.

    Returns:
        The graphs by name, in evaluation mode, without gradients.

    Raises:
        RuntimeError: if the model is in training mode.
        ValueError: if the size is not two positive multiples of the divisor.
    """
    if model.training:
        raise RuntimeError("the model is in training mode: call model.eval() to export it")
    if len(size) != 2 or any(
        not isinstance(side, int) or side < 1 or side % divisor for side in size
    ):
        raise ValueError(
            f"the size of exported graphs is {size}: give height and width, both positive "
            f"multiples of {divisor}"
        )
    network = copy.deepcopy(model).requires_grad_(False)
    for module in list(network.modules()):
        if isinstance(module, MobileBackbone):
            module.reparameterize()
    graphs = {
        name: ExportGraph(network, compute, names, size).eval()
        for name, (compute, names) in parts.items()
    }
    for graph in graphs.values():
        fix_size_constants(network, lambda graph=graph: graph(graph.example_input()))
    return graphs


class _NumbersAsSizes(TorchFunctionMode):
    """Sizes of tensors are numbers in a trace too, so that it has no operations on them."""

    def __torch_function__(
        self,
        func: Callable,
        types: Sequence[type],
        args: tuple = (),
        kwargs: dict | None = None,
    ) -> object:
        result = func(*args, **(kwargs or {}))
        if func not in (torch.Tensor.shape.__get__, torch.Tensor.size):
            return result
        with warnings.catch_warnings():
            # That the trace is for one size only is what is wanted.
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            return torch.Size(map(int, result)) if isinstance(result, tuple) else int(result)
