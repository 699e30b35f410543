"""The frames of a video as a sequence that decodes on access."""

import operator
from collections.abc import Sequence

import torch
from detectron2.data import transforms as T

from mobileinst_core.video.images import ImageReadError, read_image

from .samples import to_tensor

__all__ = ["LazyFrames"]


class LazyFrames(Sequence):
    """Frames of one video, each read and resized when it is asked for, none kept.

    A video of any length thus takes the memory of the frames in use. The object holds paths and
    settings only, so it passes cheaply between the processes of a loader.
    """

    def __init__(
        self,
        file_names: Sequence[str],
        *,
        image_format: str,
        augmentations: Sequence[T.Augmentation | T.Transform] = (),
        size: tuple[int, int] | None = None,
        video_id: int | None = None,
    ) -> None:
        """Keep the settings; nothing is read.

        Args:
            file_names: one image file per frame.
            image_format: ``INPUT.FORMAT``, "RGB" or "BGR".
            augmentations: what the image mapper applies in testing; must not be random.
            size: (height, width) of the files in pixels, checked on access; None = not checked.
            video_id: named in errors.
        """
        self._file_names = list(file_names)
        self._image_format = image_format
        self._augmentations = T.AugmentationList(augmentations)
        self._size = size
        self._video_id = video_id

    def __len__(self) -> int:
        return len(self._file_names)

    def __getitem__(self, index: int | slice) -> "torch.Tensor | LazyFrames":
        """Read one frame, or select frames without reading them.

        Args:
            index: a frame number, or a slice.

        Returns:
            the frame, (3, H, W) uint8, or for a slice the lazy sequence of these frames.

        Raises:
            ImageReadError: if the file is missing, truncated or no image.
            ImageSizeError: if the frame has another size.
        """
        if isinstance(index, slice):
            return LazyFrames(
                self._file_names[index],
                image_format=self._image_format,
                augmentations=self._augmentations.augs,
                size=self._size,
                video_id=self._video_id,
            )
        file_name = self._file_names[operator.index(index)]
        try:
            image = read_image(
                file_name, self._image_format, size=self._size, allow_transposed=True
            )
        except ImageReadError as error:
            raise ImageReadError(f"Video {self._video_id}, frame {index}: {error}") from error
        augmented = T.AugInput(image)
        self._augmentations(augmented)
        return to_tensor(augmented.image)
