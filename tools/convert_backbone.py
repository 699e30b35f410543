"""Convert a public checkpoint of a mobile backbone for any Detectron2 model that contains it.

Our own training reads public files as they are, from MODEL.WEIGHTS or MODEL.BACKBONE.WEIGHTS.
This tool is for Detectron2's own training and checkpointer, which read the converted file from
MODEL.WEIGHTS and find the backbone in the model by its names.

Example:
    python tools/convert_backbone.py topformer-B-224-75.3.pth topformer-B.pkl
    python tools/convert_backbone.py repvit_m0_9.safetensors repvit.pkl --timm repvit_m0_9
"""

import argparse
import logging
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mobileinst_core.command import command
from mobileinst_core.errors import UserError
from mobileinst_core.files import replacing
from mobileinst_d2.checkpoint.backbones import load_backbone_content, name_groups
from mobileinst_d2.checkpoint.names import (
    NETWORKS,
    describe_network,
    find_backbone,
    find_state_dict,
)
from mobileinst_d2.checkpoint.reading import CheckpointError, read_checkpoint
from mobileinst_d2.modeling import TimmBackbone

SUFFIXES = (".pkl", ".pth")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", metavar="INPUT", help="public checkpoint: file or URL")
    parser.add_argument(
        "output", metavar="OUTPUT", type=Path, help="file to write, .pkl (as in the zoo) or .pth"
    )
    parser.add_argument(
        "--arch", choices=sorted(NETWORKS), help="fail if the file is of another network"
    )
    parser.add_argument(
        "--timm", metavar="NAME", help="timm's name of the network, for any other than those"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUTPUT if it exists")
    return parser.parse_args(argv)


def convert(path: str, arch: str | None) -> tuple[dict[str, Any], str]:
    """Read a public checkpoint.

    Args:
        path: file or URL.
        arch: the network that is expected; None accepts all.

    Returns:
        The content of a Detectron2 checkpoint, and what was converted, in words.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it cannot be read, or is of no known network, or not of ``arch``.
    """
    tensors, entry = find_state_dict(read_checkpoint(path))
    part = find_backbone(tensors)
    if not part.network:
        raise CheckpointError(
            f"{path} is no checkpoint of {', '.join(NETWORKS)}; other networks of timm need --timm "
            f"NAME. It has names like {list(tensors)[:3]}."
        )
    name = describe_network(part)
    if arch not in (None, part.network):
        raise CheckpointError(f"{path} is a checkpoint of {name}, not of {arch}.")
    content = {"model": part.tensors, "__author__": name, "matching_heuristics": True}
    return content, (
        f"{name}{f', entry {entry}' if entry else ''}; converted: {name_groups(part.tensors)}; "
        f"left out: {name_groups(part.others, part.tensors)}"
    )


def convert_timm(path: str, name: str) -> tuple[dict[str, Any], str]:
    """Read a checkpoint of any network of timm.

    Args:
        path: file or URL.
        name: timm's name of the network.

    Returns:
        As `convert`, with the names of `TimmBackbone`.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it cannot be read, or is of another network.
        UserError: if timm has no such network, or it is no backbone.
    """
    content = read_checkpoint(path)
    try:
        backbone = TimmBackbone(name=name, out_features=("x5",))
    except ValueError as error:
        raise UserError(f"--timm: {error}") from error
    load_backbone_content(backbone, content, path)
    tensors = backbone.state_dict()
    return (
        {"model": tensors, "__author__": name, "matching_heuristics": True},
        f"{name}; converted: {name_groups(tensors, tensors)}",
    )


def write(content: dict[str, Any], path: Path) -> None:
    """Write a Detectron2 checkpoint, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        if path.suffix == ".pth":
            torch.save(content, partial)
            return
        # numpy has no bfloat16.
        arrays = {
            name: (tensor.float() if tensor.is_floating_point() else tensor).numpy()
            for name, tensor in content["model"].items()
        }
        with partial.open("wb") as file:
            pickle.dump({**content, "model": arrays}, file)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and convert."""
    args = parse_args(argv)
    logging.basicConfig(format="%(levelname)s: %(message)s")
    if args.output.suffix not in SUFFIXES:
        raise UserError(f"{args.output} must end in {' or '.join(SUFFIXES)}.")
    if args.output.exists() and not args.overwrite:
        raise UserError(f"{args.output} exists already; --overwrite replaces it.")
    if args.timm:
        content, summary = convert_timm(args.input, args.timm)
    else:
        content, summary = convert(args.input, args.arch)
    write(content, args.output)
    print(f"{args.output}: {summary}")


if __name__ == "__main__":
    sys.exit(main())
