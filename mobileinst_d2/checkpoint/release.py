"""A trained model as one file to pass on: weights alone, without the state of the training."""

import shutil
from pathlib import Path

import torch

from mobileinst_core.files import replacing
from mobileinst_core.video.images import prepare_output

from .reading import CheckpointError, read_checkpoint

__all__ = ["write_release"]

# Names of the classes, beside the weights.
_METADATA = "metadata.json"


def write_release(weights: str | Path, output: str | Path, *, overwrite: bool = False) -> int:
    """Write the weights of a checkpoint, and the names of its classes beside them.

    Args:
        weights: a checkpoint of a training.
        output: the file to write.
        overwrite: replace existing files.

    Returns:
        Size of the file in bytes.

    Raises:
        UserError: the checkpoint cannot be read, holds no model, or the file exists, or class names
            of another model are beside it.
    """
    weights, output = Path(weights), Path(output)
    if weights.resolve() == output.resolve():
        raise CheckpointError(f"{weights} would be replaced: name another file")
    prepare_output(output, overwrite=overwrite)
    content = read_checkpoint(str(weights))
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict):
        raise CheckpointError(
            f"{weights} holds no entry 'model': it is no checkpoint of a training"
        )
    metadata, names = weights.with_name(_METADATA), output.with_name(_METADATA)
    copied = metadata.is_file() and metadata.resolve() != names.resolve()
    taken = copied and names.is_file() and names.read_bytes() != metadata.read_bytes()
    if taken and not overwrite:
        raise CheckpointError(
            f"{names} holds the class names of another model: write {output.name} into a folder "
            "of its own, or replace them with --overwrite"
        )
    with replacing(output) as partial:
        # A tensor that is part of a larger one would take the whole with it.
        torch.save({"model": {name: value.clone() for name, value in model.items()}}, partial)
    if copied:
        shutil.copyfile(metadata, names)
    return output.stat().st_size
