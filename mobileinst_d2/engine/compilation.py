"""Networks compiled by PyTorch for training."""

import logging

from torch import nn

__all__ = ["compile_network"]

logger = logging.getLogger(__name__)

# Losses assign queries on the CPU, with shapes that change with the number of objects.
_NOT_COMPILED = "criterion"


def compile_network(model: nn.Module, backend: str = "inductor") -> None:
    """Let ``torch.compile`` translate the parts of a network when they are first called.

    Each part, such as backbone and decoders, becomes a function of its own; the preparation of
    images and the losses stay as they are. Names of parameters do not change, so checkpoints fit.
    Batches of a second size are translated once more, for any size.
    """
    names = []
    for name, module in model.named_children():
        if name != _NOT_COMPILED and any(True for _ in module.parameters()):
            module.compile(backend=backend)
            names.append(name)
    logger.info("Compiled when they are first called, which takes minutes: %s", ", ".join(names))
