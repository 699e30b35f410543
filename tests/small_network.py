"""A network with the outputs of MobileInst that exports in a second."""

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from tiny_models import tiny_config
from torch import nn

from mobileinst_d2.modeling import VideoSegmentor

SIZE = (64, 128)


class SmallNetwork(VideoSegmentor):
    """Two convolutions, and one attention of the queries to their output."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__(
            mask_stride=8, mask_upsampling=2, size_divisibility=64, **self.from_config(cfg)
        )
        num_queries, width = cfg.MODEL.MOBILEINST.INSTANCE_DECODER.NUM_QUERIES, 16
        self.conv = nn.Conv2d(3, width, 9, stride=8, padding=4)
        self.refine = nn.Conv2d(width, width, 3, padding=1)
        self.query = nn.Parameter(torch.randn(1, num_queries, width))
        self.classes = nn.Linear(width, cfg.MODEL.NUM_CLASSES)

    def forward_keyframe(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.forward_reuse(images)["mask_features"]
        tokens = F.max_pool2d(features, 8, 8).flatten(2)
        kernels = (self.query @ tokens).softmax(-1) @ tokens.transpose(1, 2)
        return {
            "kernels": kernels,
            "scores": self.classes(kernels).sigmoid(),
            "mask_features": features,
        }

    def forward_reuse(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"mask_features": self.refine(F.relu(self.conv(images)))}

    def forward_training(self, images, batched_inputs):
        raise NotImplementedError


def small_config(**overrides: object) -> CfgNode:
    return tiny_config(DATASETS__TEST=(), **overrides)


def build_small_network(seed: int = 0) -> SmallNetwork:
    torch.manual_seed(seed)
    return SmallNetwork(small_config()).eval()
