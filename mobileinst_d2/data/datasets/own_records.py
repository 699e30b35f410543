"""Data sets of images whose records a function of the user's own gives, as a COCO file."""

from collections.abc import Sequence
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.structures import BoxMode

from mobileinst_core.entries import is_integer
from mobileinst_core.errors import ConfigError, UserError
from mobileinst_core.masks.rle import to_rle

__all__ = ["coco_content"]

_NEEDED = ("image_id", "height", "width", "annotations")


def coco_content(name: str, records: Sequence[dict]) -> dict[str, Any]:
    """What an annotation file of a data set would hold.

    In place of Detectron2's ``convert_to_coco_json``, which takes a file that an earlier run left
    in the folder for that of today, and needs boxes.

    Args:
        name: registered name; its metadata have the classes.
        records: in Detectron2's standard format. Masks may be polygons, run lengths or arrays,
            boxes may be missing.

    Returns:
        The content in COCO format, which JSON can hold. Categories have the ids of the metadata's
        ``thing_dataset_id_to_contiguous_id``, without it the contiguous ones. Images have their
        own; where some are text, they are numbered from 1, and ``image_id`` is that of the record.

    Raises:
        ConfigError: if a record lacks what an evaluation needs or has the id of another, or an
            annotation is malformed or of a class that the metadata do not have.
    """
    metadata = MetadataCatalog.get(name)
    classes = list(metadata.get("thing_classes", ()))
    id_map = metadata.get("thing_dataset_id_to_contiguous_id") or {
        i: i for i in range(len(classes))
    }
    category_ids = {label: category_id for category_id, label in id_map.items()}
    are_numbered = all(is_integer(record.get("image_id")) for record in records)
    numbers: dict[int | str, int] = {}
    images, annotations = [], []
    for position, record in enumerate(records):
        where = f"record {position} of the data set '{name}' ({record.get('file_name')})"
        if missing := [key for key in _NEEDED if key not in record]:
            raise ConfigError(f"{where} has no {', '.join(map(repr, missing))} to evaluate by")
        image_id = record["image_id"]
        if not is_integer(image_id) and not isinstance(image_id, str):
            raise ConfigError(f"{where} has the image_id {image_id!r}, neither integer nor text")
        if image_id in numbers:
            raise ConfigError(f"{where} has the image_id {image_id!r} of another record")
        number = numbers[image_id] = int(image_id) if are_numbered else position + 1
        size = int(record["height"]), int(record["width"])
        images.append(
            {
                "id": number,
                "image_id": image_id if isinstance(image_id, str) else int(image_id),
                "height": size[0],
                "width": size[1],
                "file_name": str(record.get("file_name", "")),
            }
        )
        for annotation in record["annotations"]:
            if annotation.get("category_id") not in category_ids:
                raise ConfigError(
                    f"{where} has an object with category_id {annotation.get('category_id')!r}; "
                    f"records have indices of the {len(classes)} classes in the metadata, from 0"
                )
            try:
                values = _values(annotation, size)
            except (UserError, KeyError, TypeError, ValueError) as error:
                raise ConfigError(f"{where} has a malformed annotation: {error}") from error
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category_ids[annotation["category_id"]],
                    **values,
                }
            )
    categories = [{"id": category_ids[i], "name": x} for i, x in enumerate(classes)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _values(annotation: dict, size: tuple[int, int]) -> dict[str, Any]:
    values: dict[str, Any] = {"iscrowd": int(annotation.get("iscrowd", 0))}
    if annotation.get("bbox") is not None:
        if "bbox_mode" not in annotation:
            raise ValueError("its bbox has no bbox_mode")
        box = [float(x) for x in annotation["bbox"]]
        values["bbox"] = BoxMode.convert(box, annotation["bbox_mode"], BoxMode.XYWH_ABS)
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, list):
        values["segmentation"] = [[float(x) for x in polygon] for polygon in segmentation]
    elif (rle := to_rle(segmentation, *size)) is not None:
        values["segmentation"] = dict(rle)
    return values
