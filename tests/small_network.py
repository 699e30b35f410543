"""A network with the graphs of MobileInst that exports in a second."""

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from tiny_models import tiny_config
from torch import nn

SIZE = (64, 128)


class SmallGraph(nn.Module):
    """Outputs with the shapes and ranges of MobileInst's."""

    input_name = "image"

    def __init__(self, network: "SmallNetwork", name: str, size: tuple[int, int], queries: bool):
        super().__init__()
        self.network = network
        self.size = size
        self.output_names = {
            "image": ("scores", "mask_logits"),
            "keyframe": ("kernels", "scores", "mask_features", *(["queries"] if queries else [])),
            "reuse": ("mask_features",),
        }[name]

    def example_input(self) -> torch.Tensor:
        return torch.zeros(1, 3, *self.size)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = self.network(image, self.size)
        return tuple(outputs[name] for name in self.output_names)


class SmallNetwork(nn.Module):
    """One convolution, and one attention of the queries to its output."""

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        num_queries, width = cfg.MODEL.INSTANCE_DECODER.NUM_QUERIES, 16
        for name in ("MEAN", "STD"):
            values = torch.tensor(cfg.MODEL[f"PIXEL_{name}"]).view(1, 3, 1, 1)
            self.register_buffer(name.lower(), values)
        self.conv = nn.Conv2d(3, width, 9, stride=8, padding=4)
        self.refine = nn.Conv2d(width, width, 3, padding=1)
        self.query = nn.Parameter(torch.randn(1, num_queries, width))
        self.classes = nn.Linear(width, cfg.MODEL.NUM_CLASSES)

    def forward(self, image: torch.Tensor, size: tuple[int, int]) -> dict[str, torch.Tensor]:
        features = F.relu(self.conv((image - self.mean) / self.std))
        features = self.refine(features)
        tokens = F.max_pool2d(features, 8, 8).flatten(2)
        kernels = (self.query @ tokens).softmax(-1) @ tokens.transpose(1, 2)
        masks = (kernels @ features.flatten(2)).unflatten(2, (size[0] // 8, size[1] // 8))
        return {
            "kernels": kernels,
            "scores": self.classes(kernels).sigmoid(),
            "mask_features": features,
            "mask_logits": masks,
            "queries": 2 * kernels,
        }

    def export_graphs(
        self, size: tuple[int, int], *, queries: bool = False
    ) -> dict[str, SmallGraph]:
        names = ("image", "keyframe", "reuse")
        return {name: SmallGraph(self, name, size, queries).eval() for name in names}


def small_config(**overrides: object) -> CfgNode:
    return tiny_config(DATASETS__TEST=(), **overrides)


def build_small_network(seed: int = 0) -> SmallNetwork:
    torch.manual_seed(seed)
    return SmallNetwork(small_config()).eval()
