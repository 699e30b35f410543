"""What makes any module measurable."""

import torch
from torch import nn


class Only(nn.Module):
    """Gives a module the methods that are measured."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward_inference(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        out = self.module(images)
        outputs = list(out.values()) if isinstance(out, dict) else [out]
        return {"scores": outputs, "mask_logits": outputs[0]}

    def upsample_mask_logits(self, mask_logits: torch.Tensor) -> torch.Tensor:
        return mask_logits
