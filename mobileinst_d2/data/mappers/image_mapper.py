"""Single images with instance masks."""

import logging
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T

from mobileinst_core.video.images import read_image

from .augmentation import build_augmentations
from .samples import (
    BadRecords,
    decode_annotations,
    make_instances,
    to_tensor,
    transform_crowd_boxes,
    transform_masks,
)

__all__ = ["ImageMapper"]


class ImageMapper:
    """Maps a record in Detectron2's standard format to the input of a model.

    Masks become ``BitMasks`` whatever their encoding. Crowd regions, instances without a mask
    and instances that the augmentation pushed out of the image are no instances.

    A record that cannot be used raises an error in testing. In training it is logged, and None
    is returned so that Detectron2 draws another; see :class:`BadRecords`.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        image_format: str,
        augmentations: list[T.Augmentation | T.Transform],
        color_augmentations: list[T.Augmentation] | None = None,
    ) -> None:
        """Keep the settings.

        Args:
            is_train: whether to give ground truth.
            image_format: ``INPUT.FORMAT``, "RGB" or "BGR".
            augmentations: geometric augmentations, in order.
            color_augmentations: augmentations of the image only, applied after them.
        """
        self.is_train = is_train
        self.image_format = image_format
        self.augmentations = T.AugmentationList(
            [*augmentations, *(color_augmentations if color_augmentations else [])]
        )
        self._bad_records = BadRecords()
        mode = "training" if is_train else "testing"
        logging.getLogger(__name__).info(
            "Augmentations of images in %s: %s", mode, self.augmentations
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Read the constructor's arguments from the config."""
        return {
            "is_train": is_train,
            **build_augmentations(cfg, is_train),
        }

    def __call__(self, record: dict) -> dict | None:
        """Map one record, which stays as it is.

        Args:
            record: file name, height, width, image id and, for training, annotations.

        Returns:
            the record without annotations, with ``image`` (3, H, W) uint8 and in training
            ``instances`` (``gt_classes``, ``gt_masks``, ``gt_boxes``) and, where there are crowd
            regions, their ``crowd_boxes``, which some systems keep out of the background; None if
            a training record cannot be used.

        Raises:
            ImageReadError: if the image cannot be read, see the class.
            ImageSizeError: if it has another size, likewise.
            BadRecordError: if the masks are malformed, likewise.
            ValueError: if the annotations are missing in training.
        """
        return self._bad_records.map(self._map, record) if self.is_train else self._map(record)

    def _map(self, record: dict) -> dict:
        size = (record["height"], record["width"]) if "height" in record else None
        image = read_image(record["file_name"], self.image_format, size=size)
        size = image.shape[:2]
        augmented = T.AugInput(image)
        transforms = self.augmentations(augmented)
        result = {key: value for key, value in record.items() if key != "annotations"}
        result.update(height=size[0], width=size[1], image=to_tensor(augmented.image))
        if self.is_train:
            output_size = augmented.image.shape[:2]
            result["instances"] = self._make_instances(record, transforms, size, output_size)
            crowd_boxes = transform_crowd_boxes(record, transforms, output_size=output_size)
            if len(crowd_boxes):
                result["crowd_boxes"] = crowd_boxes
        return result

    def _make_instances(
        self,
        record: dict,
        transforms: T.TransformList,
        size: tuple[int, int],
        output_size: tuple[int, int],
    ):
        annotations, masks = decode_annotations(record, size)
        masks = transform_masks(masks, transforms, output_size=output_size)
        instances = make_instances(masks, [a["category_id"] for a in annotations])
        return instances[instances.gt_masks.nonempty()]
