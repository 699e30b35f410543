"""What makes any module measurable."""

import torch
from torch import nn


class Only(nn.Module):
    """Gives a module the one method that is measured."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def raw_outputs(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        out = self.module(images)
        return out if isinstance(out, dict) else {"out": out}
