"""Batch normalisation whose statistics a checkpoint has folded into its convolutions."""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["folded_norms", "refit_norms"]

# A folded variance is 1, or 1 - eps so that the layer multiplies by exactly 1.
_TOLERANCE = 1e-3


def folded_norms(module: nn.Module) -> list[_BatchNorm]:
    """Find the batch norms that only add a bias, as converters to inference formats leave them.

    In evaluation they compute what they should. In training they divide by the deviation of the
    batch, which the convolution has in it already: the network is no longer the trained one.

    Args:
        module: the network.

    Returns:
        The layers with mean 0, variance 1, weight 1 and a bias. Layers without a bias other than
        0 are new ones and not among them.
    """
    return [
        layer
        for layer in module.modules()
        if isinstance(layer, _BatchNorm)
        and layer.affine
        and layer.track_running_stats
        and bool((layer.running_mean == 0).all())
        and bool(((layer.running_var - 1).abs() < _TOLERANCE).all())
        and bool((layer.weight == 1).all())
        and bool((layer.bias != 0).any())
    ]


@torch.no_grad()
def refit_norms(
    layers: Sequence[_BatchNorm],
    run: Callable[[], None],
    reduce: Callable[[torch.Tensor], None] | None = None,
) -> None:
    """Re-estimate the statistics of batch norms; what they compute in evaluation stays.

    With the statistics m, v of the input, ``w (x - mean) / sqrt(var + eps) + b`` is written as
    ``w' (x - m) / sqrt(v + eps) + b'``, which training with batches of such input computes too.

    Args:
        layers: the layers, in evaluation mode.
        run: feeds data through the network that they are in.
        reduce: adds up a tensor over processes, in place.

    Raises:
        ValueError: if ``run`` does not reach a layer.
    """
    # Count, sum and sum of squares of each channel.
    sums = [layer.running_mean.new_zeros(3, layer.num_features).double() for layer in layers]

    def add_up(total: torch.Tensor) -> Callable[[nn.Module, tuple], None]:
        def hook(_: nn.Module, inputs: tuple) -> None:
            x = inputs[0].detach().double().transpose(0, 1).flatten(1)  # channels, values
            total.add_(
                torch.stack((torch.full_like(x[:, 0], x.shape[1]), x.sum(1), (x * x).sum(1)))
            )

        return hook

    handles = [
        layer.register_forward_pre_hook(add_up(total))
        for layer, total in zip(layers, sums, strict=True)
    ]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    for layer, total in zip(layers, sums, strict=True):
        if reduce is not None:
            reduce(total)
        count, first, second = total
        if not bool(count.all()):
            raise ValueError("a batch norm whose statistics are to be taken got no data")
        mean = first / count
        var = (second / count - mean * mean).clamp(min=0)
        scale = layer.weight.double() / (layer.running_var.double() + layer.eps).sqrt()
        layer.bias.copy_(layer.bias.double() + scale * (mean - layer.running_mean.double()))
        layer.weight.copy_(scale * (var + layer.eps).sqrt())
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(var)
