"""The parts of a MobileInst, each as a model of its own."""

from dataclasses import dataclass

import torch
from torch import nn

from ..modeling.postprocessing import mask_product
from .candidates import BuiltModel, ConfigCandidate

__all__ = ["PARTS", "PartCandidate"]


@dataclass(frozen=True)
class PartCandidate:
    """One part of the model of a config, with the tensors that the parts before it give.

    Attributes:
        name: one of :data:`PARTS`.
        whole: the model.
    """

    name: str
    whole: ConfigCandidate

    def build(self, size: tuple[int, int], runtime: str) -> BuiltModel:
        """The part.

        Args:
            size: (H, W) of the input of the whole model.
            runtime: that it will run in; it makes no difference here.

        Returns:
            The part, whose outputs are those that other parts use.
        """
        graph = self.whole.build(size, runtime).module
        network = graph.network
        with torch.no_grad():
            image = (graph.example_input() - network.pixel_mean) / network.pixel_std
            module, inputs = _SPLITTERS[self.name](network, image)
        return BuiltModel(module.eval(), inputs)


Part = tuple[nn.Module, tuple[torch.Tensor, ...]]


class _Backbone(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.backbone(image).values())


class _MaskDecoder(nn.Module):
    def __init__(self, decoder: nn.Module, names: list[str], used: list[str]) -> None:
        super().__init__()
        self.decoder = decoder
        self.names = names
        self.used = used

    def forward(self, *features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        output = self.decoder(dict(zip(self.names, features, strict=True)))
        tensors = {name: getattr(output, name) for name in self.used}
        # Some mask decoders give one tensor under two names.
        return tuple({id(x): x for x in tensors.values()}.values())


class _InstanceDecoder(nn.Module):
    def __init__(self, decoder: nn.Module, empty: tuple, names: list[str]) -> None:
        super().__init__()
        self.decoder = decoder
        self.empty = empty
        self.names = names

    def forward(self, x_global: torch.Tensor, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = dict(zip(self.names, tensors, strict=True))
        predictions = self.decoder(self.empty._replace(**given), x_global)
        return predictions.class_logits, predictions.objectness_logits, predictions.kernels


class _MaskProduct(nn.Module):
    def forward(self, kernels: torch.Tensor, features: torch.Tensor) -> tuple[torch.Tensor]:
        return (mask_product(kernels, features),)


def _split_backbone(network: nn.Module, image: torch.Tensor) -> Part:
    return _Backbone(network.backbone), (image,)


def _split_mask_decoder(network: nn.Module, image: torch.Tensor) -> Part:
    features = network.backbone(image)
    output = network.mask_decoder(features)
    used = ["mask_features", *_used(network, output, features[network.global_feature])]
    module = _MaskDecoder(network.mask_decoder, list(features), list(dict.fromkeys(used)))
    return module, tuple(features.values())


def _split_instance_decoder(network: nn.Module, image: torch.Tensor) -> Part:
    features = network.backbone(image)
    output = network.mask_decoder(features)
    x_global = features[network.global_feature]
    names = _used(network, output, x_global)
    empty = type(output)(*(None for _ in output))
    module = _InstanceDecoder(network.instance_decoder, empty, names)
    return module, (x_global, *(getattr(output, name) for name in names))


def _split_mask_product(network: nn.Module, image: torch.Tensor) -> Part:
    features = network.backbone(image)
    output = network.mask_decoder(features)
    predictions = network.instance_decoder(output, features[network.global_feature])
    return _MaskProduct(), (predictions.kernels, output.mask_features)


def _used(network: nn.Module, output: tuple, x_global: torch.Tensor) -> list[str]:
    """Names of those outputs of the mask decoder that the instance decoder depends on."""
    with torch.enable_grad():
        leaves = [x.detach().clone().requires_grad_() for x in output]
        predictions = network.instance_decoder(type(output)(*leaves), x_global)
        total = sum(x.sum() for x in predictions)
        gradients = torch.autograd.grad(total, leaves, allow_unused=True)
    return [name for name, g in zip(output._fields, gradients, strict=True) if g is not None]


_SPLITTERS = {
    "backbone": _split_backbone,
    "mask decoder": _split_mask_decoder,
    "instance decoder": _split_instance_decoder,
    "mask product": _split_mask_product,
}
PARTS = tuple(_SPLITTERS)
