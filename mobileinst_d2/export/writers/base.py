"""What a writer of graphs is given and gives."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch

__all__ = ["Names", "Tensors", "Writer", "Written"]

Names = Sequence[str]
Tensors = tuple[torch.Tensor, ...]


class Written(NamedTuple):
    """Files, and the names that inputs and outputs have in them."""

    files: list[str]
    inputs: Names
    outputs: Names


class Writer(NamedTuple):
    """How graphs are written for a runtime.

    Attributes:
        write: writes the files of a graph; takes the module, its inputs, the path of the file that
            the graph is named by, names of inputs and of outputs, and gives a `Written`.
        packages: what writing needs beside running, as package by module.
        suffix: of the file that graphs are named by.
    """

    write: Callable[..., Written]
    packages: Mapping[str, str]
    suffix: str
