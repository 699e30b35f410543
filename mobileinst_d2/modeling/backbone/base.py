"""What the mobile backbones have in common."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from torch import nn

from mobileinst_core.options import check_option

from ..layers import BATCH_NORMS

__all__ = ["FEATURE_STRIDES", "MobileBackbone", "check_image_channels"]

FEATURE_STRIDES = {"x3": 8, "x4": 16, "x5": 32, "x6": 64}
_MIN_SIZE = 64
# Largest MODEL.BACKBONE.FREEZE_AT, as of Detectron2's ResNet: n freezes up to stride 2**n.
_MAX_FREEZE_AT = 5


class MobileBackbone(Backbone):
    """A backbone with outputs ``x3``, ``x4``, ``x5`` and ``x6`` at strides 8, 16, 32 and 64.

    Images may have any size of at least 64x64; maps have the size divided by the stride, rounded
    up.
    """

    def __init__(
        self, channels: Mapping[str, int], out_features: Sequence[str], *, norm: str
    ) -> None:
        """Declare the outputs.

        Args:
            channels: channels of each of the four outputs.
            out_features: the outputs to return, in this order.
            norm: normalisation of the convolutions, one of ``BATCH_NORMS``.

        Raises:
            ValueError: if the normalisation or an output is unknown, an output is named twice, or
                none is named.
        """
        super().__init__()
        check_option("norm", norm, BATCH_NORMS)
        for name in out_features:
            check_option("an entry of out_features", name, FEATURE_STRIDES)
        if not out_features or len(set(out_features)) < len(out_features):
            raise ValueError(
                f"out_features is {list(out_features)}: name each wanted output once, at least one"
            )
        self._frozen: list[nn.Module] = []
        self._out_features = list(out_features)
        self._out_feature_strides = {name: FEATURE_STRIDES[name] for name in out_features}
        self._out_feature_channels = {name: channels[name] for name in out_features}

    def freeze(self, freeze_at: int) -> None:
        """Freeze the first layers, as Detectron2's ResNets do: no gradient, no batch statistics.

        Args:
            freeze_at: 0 freezes nothing, 1 the layers up to stride 2, 2 up to stride 4, ..., 5 up
                to stride 32. What a public backbone lacks, such as the layers of x6, never is.

        Raises:
            ValueError: if the number is out of range, or the network does not say where to stop.
        """
        if not 0 <= freeze_at <= _MAX_FREEZE_AT:
            raise ValueError(
                f"freeze_at is {freeze_at}: choose 0 (nothing) to {_MAX_FREEZE_AT} "
                "(up to stride 32)"
            )
        if freeze_at == 0:
            return
        ends = self.stage_ends()
        # A network that starts at a larger stride has its first stage frozen.
        last = ends[max((s for s in ends if s <= 2**freeze_at), default=min(ends))]
        # Modules are registered in the order in which they run.
        modules = list(self.named_modules())
        places = [i for i, (name, _) in enumerate(modules) if f"{name}.".startswith(f"{last}.")]
        if not places:
            raise ValueError(
                f"freeze_at is {freeze_at}, but the network has no layer of the name of its last "
                f"one there ({last}): choose 0, or another stride"
            )
        end = 1 + places[-1]
        later = {id(module) for _, module in modules[end:]}
        self._frozen = [x for _, x in modules[:end] if later.isdisjoint(map(id, x.modules()))]
        for module in self._frozen:
            module.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "MobileBackbone":
        """Switch the mode of all but the frozen layers, which stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    @abstractmethod
    def stage_ends(self) -> dict[int, str]:
        """The last module at each stride of public backbones, 2 to 32, by its name."""

    @property
    def size_divisibility(self) -> int:
        """The stride of x6: sizes that it divides give maps without rounding."""
        return 64

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute the features.

        Args:
            x: (B, 3, H, W), normalised; H and W of at least 64.

        Returns:
            The maps of ``out_features``, each (B, C, ceil(H / stride), ceil(W / stride)).

        Raises:
            ValueError: if the image is too small; not checked where the network is traced.
        """
        if not (torch.jit.is_tracing() or torch.compiler.is_compiling()):
            height, width = x.shape[-2:]
            if min(height, width) < _MIN_SIZE:
                raise ValueError(
                    f"the image has {height}x{width} pixels; {type(self).__name__} needs at least "
                    f"{_MIN_SIZE}x{_MIN_SIZE}, so pad it to a multiple of size_divisibility"
                )
        features = self.extract(x)
        return {name: features[name] for name in self._out_features}

    @abstractmethod
    def extract(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Map images (B, 3, H, W) to at least the wanted outputs."""

    def reparameterize(self) -> None:
        """Merge for inference, in place, what the network has for training only; often nothing."""


def check_image_channels(name: str, input_shape: ShapeSpec) -> None:
    """Make sure that a backbone, called ``name``, is to be built for images of three channels.

    Raises:
        ValueError: if the number of channels is another one.
    """
    if input_shape.channels != 3:
        raise ValueError(f"{name} takes 3 input channels, not {input_shape.channels}")
