"""What a writer of graphs is given and gives."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

__all__ = ["Graph", "Names", "Tensors", "Writer", "Written", "some_outputs"]

Graph = dict[str, Any]  # as `export_module` gives it
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
            the graph is named by, names of inputs and of outputs, whether weights are stored in
            half precision, and gives a `Written`.
        packages: what writing needs beside running, as package by module.
        suffix: of the file that graphs are named by.
        share: makes a smaller graph of one that was written, on the same weights; takes the folder,
            the graph, the name of the new one and those of its outputs. Gives the new graph and
            the other one, whose files may have become others.
        tune: makes the files of a graph faster, in place; None = nothing is to be done.
    """

    write: Callable[..., Written]
    packages: Mapping[str, str]
    suffix: str
    share: Callable[[Path, Graph, str, Names], tuple[Graph, Graph]]
    tune: Callable[[Path, Graph], None] | None = None


def some_outputs(graph: Graph, outputs: Names) -> Graph:
    """A graph with some of its outputs."""
    return {**graph, "outputs": {name: graph["outputs"][name] for name in outputs}}
