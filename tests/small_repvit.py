"""A RepViT of a few blocks, which timm knows by this name once this is imported."""

from timm.models import register_model
from timm.models.repvit import _create_repvit
from torch import nn

SMALL_REPVIT = "repvit_of_tests"


@register_model
def repvit_of_tests(pretrained: bool = False, **options: object) -> nn.Module:
    sizes = {"embed_dim": (16, 32, 48, 64), "depth": (1, 1, 2, 1)}
    return _create_repvit(SMALL_REPVIT, pretrained, **sizes, **options)
