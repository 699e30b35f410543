"""Public checkpoints of backbones: names, report, and clear words about files that do not fit."""

import logging

import torch
from detectron2.utils.file_io import PathManager
from torch import nn

__all__ = ["load_backbone_weights"]

logger = logging.getLogger(__name__)

_WEIGHT_KEYS = ("state_dict_ema", "state_dict", "model")
_PREFIXES = ("module.", "backbone.")


def load_backbone_weights(backbone: nn.Module, path: str) -> None:
    """Load a public checkpoint into a backbone.

    Args:
        backbone: takes the weights.
        path: file or URL.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if no parameter of the backbone is in the file.
    """
    local = PathManager.get_local_path(path)
    if not PathManager.isfile(local):
        raise FileNotFoundError(f"MODEL.BACKBONE.WEIGHTS: the file {path!r} does not exist.")
    content = torch.load(local, map_location="cpu", weights_only=True)
    for key in _WEIGHT_KEYS:
        if content.get(key):
            content = content[key]
            break
    for prefix in _PREFIXES:
        if any(name.startswith(prefix) for name in content):
            content = {n.removeprefix(prefix): v for n, v in content.items()}
    own = backbone.state_dict()
    fitting = {n: v for n, v in content.items() if n in own and own[n].shape == v.shape}
    if not fitting:
        raise ValueError(f"No parameter of {type(backbone).__name__} is in {path}.")
    backbone.load_state_dict(fitting, strict=False)
    logger.info("%s: %d tensors loaded.", path, len(fitting))
