"""Networks as after a training: nothing is zero, one, or equal to its neighbour."""

import torch
from torch import nn


@torch.no_grad()
def randomise(module: nn.Module) -> nn.Module:
    """Give all normalisations random scales and statistics, and biases of other layers a value."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.normal_(1.0, 0.3)
            layer.bias.normal_()
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2.0)
        elif getattr(layer, "bias", None) is not None:
            layer.bias.normal_()
    return module
