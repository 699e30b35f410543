"""Networks compiled by PyTorch for training."""

import logging
import os
import shutil
import sys

from torch import nn

from mobileinst_core.errors import ConfigError

__all__ = ["compile_network"]

logger = logging.getLogger(__name__)

# Losses assign queries on the CPU, with shapes that change with the number of objects.
_NOT_COMPILED = "criterion"


def compile_network(model: nn.Module, backend: str = "inductor") -> None:
    """Let ``torch.compile`` translate the parts of a network when they are first called.

    Each part, such as backbone and decoders, becomes a function of its own; the preparation of
    images and the losses stay as they are. Names of parameters do not change, so checkpoints fit.
    Batches of a second size are translated once more, for any size.

    Raises:
        ConfigError: the network is on a CPU, where there is no C++ compiler.
    """
    if backend == "inductor" and not next(model.parameters()).is_cuda:
        _require_compiler()
    names = []
    for name, module in model.named_children():
        if name != _NOT_COMPILED and any(True for _ in module.parameters()):
            module.compile(backend=backend)
            names.append(name)
    logger.info("Compiled when they are first called, which takes minutes: %s", ", ".join(names))


def _require_compiler() -> None:
    """Ask in time: PyTorch tells of it in the first step, below hundreds of lines of traceback."""
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    name = os.environ.get("CXX", "").strip() or usual
    if not any(shutil.which(found) for found in (name, name.split()[0])):
        raise ConfigError(
            f"MODEL.COMPILE True needs a C++ compiler on a CPU, and there is no {name!r}: install "
            "it, name another in the environment variable CXX, or set MODEL.COMPILE False."
        )
