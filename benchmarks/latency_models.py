"""The models of a comparison, whole or in parts: of configs, exported folders and packages."""

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from mobileinst_core.errors import ConfigError
from mobileinst_core.runtime.runners import ExportError
from mobileinst_d2.export.model import ExportedModel, read_config
from mobileinst_d2.modeling.layers import mask_product

from detectron2.config import CfgNode
from detectron2.modeling import build_model

_SEED = 0
_GRAPH = "image"
_INSTALL_ULTRALYTICS = (
    'pip install "mobileinst_d2[benchmark]", or, to keep the OpenCV without windows: '
    "pip install --no-deps ultralytics ultralytics-thop"
)
# Runtimes for which ultralytics exports the branch without selection of boxes.
_WITHOUT_TOP_K = ("ncnn",)


class BuiltModel(NamedTuple):
    """A model to time.

    Attributes:
        module: returns a tuple of tensors; in evaluation mode.
        inputs: what it takes; for whole models an image (1, 3, H, W).
        note: what has to be known to read the numbers; may be empty.
    """

    module: nn.Module
    inputs: tuple[torch.Tensor, ...]
    note: str = ""


@dataclass(frozen=True)
class ConfigCandidate:
    """The model of a config, with random weights.

    Attributes:
        name: of its row.
        cfg: the config.
        size: (H, W) of its input; None = that of the comparison.
    """

    name: str
    cfg: CfgNode
    size: tuple[int, int] | None = None

    def build_model(self) -> nn.Module:
        """The whole meta-architecture, in evaluation mode."""
        torch.manual_seed(_SEED)
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.MODEL.DEVICE = "cpu"
        model = build_model(cfg).eval()
        randomise_norms(model)
        return model

    def build(self, size: tuple[int, int], runtime: str) -> BuiltModel:
        """The graph for single images.

        Args:
            size: (H, W) of the input.
            runtime: that it will run in; it makes no difference here.

        Returns:
            Scores and mask logits of an image.
        """
        graph = self.build_model().export_graphs(self.size or size)[_GRAPH]
        return BuiltModel(graph, (graph.example_input(),))


@dataclass(frozen=True)
class ExportedCandidate:
    """The graph for single images in a folder that ``tools/export.py`` wrote.

    Attributes:
        name: of its row.
        folder: the folder.
    """

    name: str
    folder: Path

    def graph(self, size: tuple[int, int], runtime: str) -> dict:
        """Description of the graph, as a runner takes it.

        Args:
            size: (H, W) that the other models are built for.
            runtime: to run it in.

        Returns:
            Names and shapes of files, inputs and outputs.

        Raises:
            ExportError: if the folder is damaged, or is for another runtime or size, or has no
                such graph.
        """
        model = ExportedModel.load(self.folder, runtime)
        if model.size != tuple(size):
            raise ExportError(f"exported for {model.size}, this comparison is at {tuple(size)}")
        # That of key frames predicts images too: all but the product of kernels and features.
        for name in (_GRAPH, "keyframe"):
            if name in model.graphs:
                return model.manifest.graphs[name]
        raise ExportError(f"exported without the graphs {_GRAPH!r} and 'keyframe'")

    def build(self, size: tuple[int, int], runtime: str) -> BuiltModel:
        """The model it was made from, for its cost: see :meth:`ConfigCandidate.build`."""
        return ConfigCandidate(self.name, read_config(self.folder)).build(size, runtime)


@dataclass(frozen=True)
class PackageCandidate:
    """A model of ultralytics (``yolo...``) or a Mask R-CNN of torchvision, with random weights.

    Attributes:
        name: of the model, and of its row.
    """

    name: str

    def check(self) -> None:
        """Refuse a name that stands for nothing.

        Raises:
            ConfigError: if there is no such model.
        """
        if not self._is_ultralytics and self.name not in _torchvision_names():
            raise ConfigError(
                f"there is no package model {self.name}: name one of ultralytics, for instance "
                f"yolo11n-seg or yolo26n-seg, or of torchvision: {', '.join(_torchvision_names())}"
            )

    def build(self, size: tuple[int, int], runtime: str) -> BuiltModel:
        """The model in the form in which its package exports it.

        Args:
            size: (H, W) of the input.
            runtime: that it will run in.

        Returns:
            The model.

        Raises:
            ModuleNotFoundError: if its package is not installed.
        """
        torch.manual_seed(_SEED)
        if self._is_ultralytics:
            module, note = _build_ultralytics(self.name, runtime)
        else:
            module, note = _build_torchvision(self.name, size)
        return BuiltModel(module.eval(), (torch.rand(1, 3, *size),), note)

    @property
    def _is_ultralytics(self) -> bool:
        return self.name.startswith("yolo")


Candidate = ConfigCandidate | ExportedCandidate | PackageCandidate


def randomise_norms(module: nn.Module) -> None:
    """Give batch normalisations statistics, so that they are no identities to be left out."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)


class _FlatOutputs(nn.Module):
    """Gives nested outputs as one tuple."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(_flatten(self.module(image)))


class _ListDetector(nn.Module):
    """Gives a detector of torchvision, which takes lists of images, the form of the others."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.module([image[0]])[0].values())


def _torchvision_names() -> list[str]:
    from torchvision import models

    return models.list_models(module=models.detection, include="maskrcnn*")


def _build_torchvision(name: str, size: tuple[int, int]) -> tuple[nn.Module, str]:
    from torchvision import models

    sides = {"min_size": min(size), "max_size": max(size)}
    model = models.get_model(name, weights=None, weights_backbone=None, **sides)
    randomise_norms(model)
    return _ListDetector(model), (
        "with its own selection of boxes and pasting of masks; with random weights hardly any "
        "box passes its thresholds, so its heads have less to do than after training"
    )


def _build_ultralytics(name: str, runtime: str) -> tuple[nn.Module, str]:
    if importlib.util.find_spec("ultralytics") is None:
        raise ModuleNotFoundError(
            "ultralytics is not installed; this project does not depend on it (AGPL-3.0): "
            f"{_INSTALL_ULTRALYTICS}"
        )
    os.environ["YOLO_OFFLINE"] = "true"  # read when it is imported
    from ultralytics.nn.modules import C2f, Detect
    from ultralytics.nn.tasks import SegmentationModel

    model = SegmentationModel(f"{name}.yaml", verbose=False).eval()
    randomise_norms(model)
    # The best boxes are selected in the graph where the model can do without suppression.
    selects = hasattr(model.model[-1], "one2one_cv2") and runtime not in _WITHOUT_TOP_K
    model.end2end = selects
    model.fuse(verbose=False)
    for module in model.modules():
        if isinstance(module, Detect):
            module.export, module.dynamic = True, False
        elif isinstance(module, C2f):
            module.forward = module.forward_split
    boxes = "the best 300 boxes" if selects else "all boxes, without suppression of overlaps,"
    return _FlatOutputs(model), (
        f"ultralytics' form for export, batch normalisation folded in: gives {boxes} with mask "
        "coefficients, and prototypes; the assembly of masks is not timed"
    )


def _flatten(outputs: object) -> Iterator[torch.Tensor]:
    if isinstance(outputs, torch.Tensor):
        yield outputs
    else:
        for output in outputs:
            yield from _flatten(output)


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
