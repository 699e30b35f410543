"""Any network of timm that gives features at strides 8, 16 and 32, with one more at stride 64."""

import difflib
from collections.abc import Callable, Sequence

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from torch import nn

from mobileinst_core.options import check_option

from ..layers import ConvNorm
from .base import FEATURE_STRIDES, MobileBackbone, check_image_channels

__all__ = ["TimmBackbone"]

_OUT_STRIDES = {8: "x3", 16: "x4", 32: "x5"}
_GLOBAL_FEATURES = ("conv", "separable", "pool")
_NORMS = ("BN", "SyncBN", "FrozenBN")


@BACKBONE_REGISTRY.register()
class TimmBackbone(MobileBackbone):
    """A network of timm, pytorch-image-models, as a Detectron2 backbone.

    Outputs ``x3``, ``x4``, ``x5`` (strides 8, 16, 32) are the last maps that timm's
    ``features_only`` gives at each stride; ``x6`` (stride 64) is made from ``x5``. Parameters have
    timm's names, under ``network``.

    Where timm counts the 1x1 convolution in front of the classifier's pooling as a last stage, as
    in MobileNetV3 and V4, it is left out: its 960 channels would make the layers behind cost more
    than the network.

    Maps have the size of the image divided by the stride where the image is padded to multiples of
    ``size_divisibility``; at other sizes some networks round down.
    """

    @configurable
    def __init__(
        self,
        *,
        name: str = "mobilenetv2_100",
        out_features: Sequence[str] = ("x3", "x4", "x5", "x6"),
        global_feature: str = "conv",
        norm: str = "BN",
        freeze_at: int = 0,
    ) -> None:
        """Build the backbone with random weights, up to the coarsest output.

        Args:
            name: timm's name of the network, also with the tag of its weights, such as
                "mobilenetv4_conv_small.e2400_r224_in1k", which MODEL.BACKBONE.WEIGHTS timm takes.
            out_features: which of "x3", "x4", "x5", "x6" to return.
            global_feature: how x6 is made from x5: "conv" (3x3 with stride 2), "separable" (the
                same as depthwise and pointwise convolution) or "pool" (2x2 average).
            norm: what the batch norms become: "BN" (they stay), "SyncBN" or "FrozenBN".
            freeze_at: see :meth:`freeze`.

        Raises:
            ValueError: if timm has no such network, it gives no features at strides 8, 16 and 32,
                or another argument is unknown.
        """
        check_option("global_feature", global_feature, _GLOBAL_FEATURES)
        check_option("norm", norm, _NORMS)
        network, indices, channels = _build_network(name, out_features)
        channels["x6"] = channels["x5"]
        super().__init__(channels, out_features, norm=norm)
        self.name = name
        # Which of the network's maps each output is.
        self.indices = indices
        self.channels_last = str(getattr(network, "output_fmt", "NCHW")).endswith("NHWC")
        self.network = _with_norms(network, norm)
        self.global_layers = None
        if "x6" in out_features:
            activation = _activation(network)
            self.global_layers = _build_global_layers(
                global_feature, channels["x5"], norm, activation
            )
        self.freeze(freeze_at)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        """Keyword arguments from ``cfg.MODEL.TIMM`` and ``cfg.MODEL.BACKBONE``."""
        check_image_channels("TimmBackbone", input_shape)
        return {
            "name": cfg.MODEL.TIMM.NAME,
            "global_feature": cfg.MODEL.TIMM.GLOBAL_FEATURE,
            "norm": cfg.MODEL.BACKBONE.NORM,
            "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT,
        }

    def stage_ends(self) -> dict[int, str]:
        """What timm calls its features, see :meth:`MobileBackbone.stage_ends`."""
        info = self.network.feature_info
        stages = zip(info.reduction(), info.module_name(), strict=True)
        # Networks whose layers timm lists one by one have underscores in place of the dots.
        known = dict(self.network.named_modules())
        return {
            stride: f"network.{name if name in known else name.replace('.', '_')}"
            for stride, name in stages
        }

    def extract(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Map images (B, 3, H, W) to the outputs.

        Raises:
            ValueError: the maps have other sizes than their strides say.
        """
        maps = self.network(x)
        features = {
            output: maps[index] for output, index in self.indices.items() if index < len(maps)
        }
        if self.channels_last:
            features = {name: value.permute(0, 3, 1, 2) for name, value in features.items()}
        if not (torch.jit.is_tracing() or torch.compiler.is_compiling()):
            self._check_sizes(x, features)
        if self.global_layers is not None:
            features["x6"] = self.global_layers(features["x5"])
        return features

    def _check_sizes(self, x: torch.Tensor, features: dict[str, torch.Tensor]) -> None:
        """See that masks, which are cropped and enlarged by strides, are where the objects are."""
        size = tuple(x.shape[-2:])
        for name, value in features.items():
            stride, found = FEATURE_STRIDES[name], tuple(value.shape[-2:])
            if found != (size[0] // stride, size[1] // stride) and not any(
                side % stride for side in size
            ):
                raise ValueError(
                    f"timm's {self.name} makes a map of {found[0]}x{found[1]} at stride {stride} "
                    f"of an image of {size[0]}x{size[1]}: its convolutions cut the border off, "
                    "so it is no backbone here"
                )

    def reparameterize(self) -> None:
        """Merge parallel branches and batch norms of RepViT and the like into convolutions."""
        from timm.utils import reparameterize_model

        reparameterize_model(self.network, inplace=True)


def _build_network(
    name: str, out_features: Sequence[str]
) -> tuple[nn.Module, dict[str, int], dict[str, int]]:
    """Make a network that ends at the coarsest output.

    Returns:
        The network, which of its maps each of the outputs x3, x4, x5 is, and their channels.
    """
    import timm  # takes seconds, and not every model needs it

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.0)
        raise ValueError(f"timm has no network {name!r}; the closest are {', '.join(close)}")
    settings = timm.get_pretrained_cfg(name)
    if settings is not None and settings.fixed_input_size:
        size = "x".join(map(str, settings.input_size[1:]))
        raise ValueError(f"timm's {name} takes images of {size} only, so it is no backbone here")
    try:
        network = timm.create_model(name, features_only=True)
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"timm cannot make a feature extractor of {name}: {error}") from error
    info = network.feature_info
    strides = info.reduction()
    # Of several maps at a stride the last is taken.
    indices = {_OUT_STRIDES[s]: i for i, s in enumerate(strides) if s in _OUT_STRIDES}
    if len(indices) < len(_OUT_STRIDES):
        raise ValueError(
            f"timm's {name} gives features at strides {strides}, and a backbone needs 8, 16 and 32"
        )
    channels = {output: info.channels()[index] for output, index in indices.items()}
    last = max(out_features, default="")
    coarsest = max((i for output, i in indices.items() if output <= last), default=indices["x5"])
    if coarsest < len(strides) - 1:
        network = timm.create_model(name, features_only=True, out_indices=range(coarsest + 1))
        _drop_stages_after(network, info.module_name()[coarsest])
    elif (width := _drop_last_convolution(network)) is not None:
        channels["x5"] = width
    return network, indices, channels


def _drop_stages_after(network: nn.Module, name: str) -> None:
    """End a network at a stage such as "blocks.2"; most of timm's do so themselves."""
    parent, _, number = name.rpartition(".")
    stages = getattr(network, parent, None) if parent else None
    if isinstance(stages, nn.Sequential):
        setattr(network, parent, stages[: int(number) + 1])


def _drop_last_convolution(network: nn.Module) -> int | None:
    """Drop the 1x1 convolution that comes before the classifier's pooling.

    Returns:
        Channels of the last map then; None if the network has no such convolution.
    """
    stages = getattr(network, "blocks", None)
    if not isinstance(stages, nn.Sequential) or len(stages[-1]) != 1:
        return None
    conv = getattr(stages[-1][0], "conv", None)
    if not isinstance(conv, nn.Conv2d) or conv.kernel_size != (1, 1):
        return None
    stages[-1] = nn.Identity()  # the network counts its stages
    return conv.in_channels


def _with_norms(network: nn.Module, norm: str) -> nn.Module:
    """Replace the batch norms of a network, which may share the new one's memory."""
    from timm.layers import convert_sync_batchnorm, freeze_batch_norm_2d

    if norm == "SyncBN":
        return convert_sync_batchnorm(network)
    return freeze_batch_norm_2d(network) if norm == "FrozenBN" else network


def _activation(network: nn.Module) -> Callable[[], nn.Module]:
    """What follows the convolutions of x6: ReLU6 where the network has it, else ReLU."""
    return nn.ReLU6 if any(isinstance(m, nn.ReLU6) for m in network.modules()) else nn.ReLU


def _build_global_layers(
    kind: str, channels: int, norm: str, activation: Callable[[], nn.Module]
) -> nn.Module:
    """Layers from x5 to x6; their map has half the size, rounded up."""
    if kind == "pool":
        return nn.AvgPool2d(2, ceil_mode=True)
    if kind == "conv":
        convs = [ConvNorm(channels, channels, 3, 2, norm=norm)]
    else:
        convs = [
            ConvNorm(channels, channels, 3, 2, groups=channels, norm=norm),
            ConvNorm(channels, channels, norm=norm),
        ]
    return nn.Sequential(*(layer for conv in convs for layer in (conv, activation())))
