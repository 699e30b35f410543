"""Tracks as pictures of identities: one number per pixel, one file per frame."""

from pathlib import Path

import numpy as np
import torch
from detectron2.structures import Instances

from .images import VideoIOError, write_image

__all__ = ["IdMapWriter", "id_map"]

_MAX_ID = np.iinfo(np.uint16).max


def id_map(instances: Instances) -> np.ndarray:
    """Draw the identities of a frame into one picture.

    Args:
        instances: ``pred_masks`` bool (n, H, W), ``scores`` (n,) and ``ID`` (n integers from 1).

    Returns:
        (H, W) uint16: the identity of each pixel, 0 where there is none. Where masks overlap, the
        one with the highest score is on top.

    Raises:
        VideoIOError: an identity is above 65535, which 16 bits cannot hold.
    """
    if max(instances.ID, default=0) > _MAX_ID:
        raise VideoIOError(f"identity {max(instances.ID)} does not fit into a 16-bit picture.")
    picture = np.zeros(instances.image_size, np.uint16)
    masks = instances.pred_masks.cpu().numpy()
    for index in torch.argsort(instances.scores, stable=True).tolist():
        picture[masks[index]] = instances.ID[index]
    return picture


class IdMapWriter:
    """A folder of 16-bit PNG files, see `id_map`, as evaluation tools and editors read them."""

    def __init__(self, folder: Path, *, overwrite: bool = False) -> None:
        """Make the folder if it is missing.

        Args:
            folder: where to write.
            overwrite: replace files of the same names; otherwise the folder must be empty.

        Raises:
            VideoIOError: it holds files, or cannot be made.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            used = any(folder.iterdir())
        except OSError as error:
            raise VideoIOError(f"cannot write into {folder}: {error.strerror}.") from error
        if used and not overwrite:
            raise VideoIOError(
                f"the folder {folder} is not empty; --overwrite replaces files of the same names."
            )
        self.folder = folder

    def write(self, name: str, instances: Instances) -> None:
        """Write the map of one frame.

        Args:
            name: of the frame; the file is called NAME.png.
            instances: see `id_map`.

        Raises:
            VideoIOError: the file cannot be written, or an identity is too large.
        """
        write_image(self.folder / f"{name}.png", id_map(instances), overwrite=True)
