"""Writing of identity maps: images with the number of an object in each pixel."""

from pathlib import Path

import numpy as np

from mobileinst_core.detections import Detections

from .images import VideoIOError, write_error, write_image

__all__ = ["IdMapWriter", "id_map"]

# What the pixels hold at most.
_MAX_ID = np.iinfo(np.uint16).max


def id_map(detections: Detections) -> np.ndarray:
    """Draw the identities of a frame into one image.

    Args:
        detections: tracked instances, with ``ids``.

    Returns:
        (H, W) uint16: the identity of each pixel, 0 where there is none. Where masks overlap, the
        one with the highest score is on top.

    Raises:
        VideoIOError: an identity is above 65535, which 16 bits cannot hold.
    """
    largest = max(detections.ids, default=0)
    if largest > _MAX_ID:
        raise VideoIOError(f"identity {largest} does not fit into a 16-bit image.")
    identities = np.zeros(detections.image_size, np.uint16)
    order = np.argsort(detections.scores, kind="stable")
    for identity, (top, left, pixels) in zip(
        detections.ids[order], detections.crops[order], strict=True
    ):
        height, width = pixels.shape
        identities[top : top + height, left : left + width][pixels] = identity
    return identities


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
            raise write_error(folder, error, "write into") from error
        if used and not overwrite:
            raise VideoIOError(
                f"the folder {folder} is not empty; --overwrite replaces files of the same names."
            )
        self.folder = folder

    def write(self, name: str, detections: Detections) -> None:
        """Write the map of one frame.

        Args:
            name: of the frame; the file is called NAME.png.
            detections: see `id_map`.

        Raises:
            VideoIOError: the file cannot be written, or an identity is too large.
        """
        write_image(self.folder / f"{name}.png", id_map(detections), overwrite=True)
