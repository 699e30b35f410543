"""The one reader of COCO annotation files, which checks them entry by entry and mends what it can.

As that of YouTube-VIS files it reports what it finds and continues with the rest: training and
evaluation stop at the first error, and validation lists them all.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pycocotools import mask as mask_util

from mobileinst_core.entries import (
    Finding,
    Report,
    entries_by_id,
    has_keys,
    is_finite,
    is_integer,
    numbered_entries,
    portable_path,
    read_categories,
    stop_at_error,
)
from mobileinst_core.masks.rle import (
    MIN_POLYGON_NUMBERS,
    MaskError,
    check_polygons,
    rle_area,
    to_rle,
    to_rles,
)
from mobileinst_core.masks.run_lengths import compressed_text

__all__ = ["Annotation", "CocoFile", "Image"]

_GROUP = "annotations"
# pycocotools counts the pixels of a mask in 31 bits.
_END_OF_PIXELS = 2**31


@dataclass(frozen=True)
class Image:
    """An image of an annotation file.

    Attributes:
        id: of the file.
        height: in pixels.
        width: in pixels.
        file_name: relative to the image root, with forward slashes; None if it is missing.
    """

    id: int
    height: int
    width: int
    file_name: str | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.height, self.width


class Annotation(NamedTuple):
    """One annotated object, complete.

    Attributes:
        name: the entry in messages.
        entry: as it is in the file.
        image: the image that it belongs to.
        category_id: of the file.
        annotation_id: None if the entry has no id of its own that can be used.
        is_crowd: whether it is a region of many objects.
        segmentation: polygons of at least three points each, or compressed RLE, which may be of no
            pixel; None if there is no mask.
        box: (x, y, width, height) in pixels; as given, else that of the mask.
        area: pixels; as given, else those of the mask, or of the box without one.
    """

    name: str
    entry: dict[str, Any]
    image: Image
    category_id: int
    annotation_id: int | None
    is_crowd: bool
    segmentation: list[list[float]] | dict[str, Any] | None
    box: list[float]
    area: float

    def rle(self) -> dict[str, Any] | None:
        """The mask as compressed RLE; None if it is missing or has no pixel."""
        return to_rle(self.segmentation, *self.image.size)


class CocoFile:
    """The content of an annotation file.

    Attributes:
        categories: class names by category id, in ascending order of the id; "" for one without.
        images: by id, in ascending order; None for an image that cannot be used.
        has_annotations: whether there is ground truth; public test sets have none.
    """

    def __init__(self, content: Any, report: Report = stop_at_error) -> None:
        """Read everything but the annotations of the content of the JSON file."""
        self._report = report
        self.categories: dict[int, str] = {}
        self.images: dict[int, Image | None] = {}
        self._annotations: Any = None
        if _is_annotation_file(content, report):
            self.categories = read_categories(content["categories"], report)
            entries = entries_by_id(content["images"], "image", "images", report)
            self.images = {key: _read_image(key, entries[key], report) for key in sorted(entries)}
            self._annotations = content.get("annotations")
        self.has_annotations = bool(self._annotations)

    def annotations(self) -> Iterator[Annotation]:
        """The annotations with their masks, image by image.

        Yields:
            Those that can be used, in the order of ``images``, and within an image of the file.
        """
        by_image: dict[int, list[tuple[str, int | None, dict]]] = defaultdict(list)
        num_crowds = num_read = 0
        for name, key, entry in self._numbered():
            image, is_crowd = self._check(name, entry)
            num_read += 1
            num_crowds += is_crowd
            if image is not None:
                by_image[image.id].append((name, key, entry))
        if num_read and num_crowds == num_read:
            self._report(Finding(_GROUP, _only_crowds(num_read)))
        for image in self.images.values():
            if image is not None and image.id in by_image:
                yield from self._complete(image, by_image.pop(image.id))

    def _numbered(self) -> Iterator[tuple[str, int | None, dict]]:
        """Names, ids and entries; ids are of no account, as evaluation gives new ones."""

        def report(finding: Finding) -> None:
            if not finding.in_metric:
                message = f"{finding.message}; evaluation here renumbers the annotations"
                finding = replace(finding, message=message, is_error=False)
            self._report(finding)

        if not self.has_annotations:
            return
        for name, key, entry in numbered_entries(
            self._annotations, "annotation", _GROUP, report, ids_in_metric=False
        ):
            if key is not None and key < 1:
                message = f"{name}: pycocotools never matches an id below 1"
                report(Finding(_GROUP, message, in_metric=False))
            yield name, key, entry

    def _check(self, name: str, entry: dict) -> tuple[Image | None, bool]:
        """The image of an annotation, None if it cannot be used; and whether it is a crowd."""
        report = self._report
        if not has_keys(entry, ("image_id", "category_id"), name, _GROUP, report):
            return None, False
        image_id, category_id = entry["image_id"], entry["category_id"]
        is_crowd, is_usable = entry.get("iscrowd"), True
        if not is_integer(image_id) or image_id not in self.images:
            message = (
                f"{name} belongs to image {image_id!r}, which is not among the images of the file; "
                "add the image or remove the annotation"
            )
            report(Finding(_GROUP, message))
            is_usable = False
        if not is_integer(category_id) or category_id not in self.categories:
            known = ", ".join(map(str, self.categories))
            message = (
                f"{name} has category_id {category_id!r}, which is not in the categories of the "
                f"file ({known}); add the category or correct the id"
            )
            report(Finding(_GROUP, message))
            is_usable = False
        if is_crowd not in (0, 1, None):
            report(Finding(_GROUP, f"{name} has iscrowd {is_crowd!r}, which must be 0 or 1"))
            is_usable = False
        return self.images[int(image_id)] if is_usable else None, bool(is_crowd == 1)

    def _complete(
        self, image: Image, entries: list[tuple[str, int | None, dict]]
    ) -> Iterator[Annotation]:
        """The annotations of an image with masks, boxes and areas."""
        masks = _read_masks(image, entries, self._report)
        for index, (name, key, entry) in enumerate(entries):
            if index not in masks:
                continue
            mask = masks[index]
            box = self._read_value(name, image, entry, "bbox", _is_box)
            area = self._read_value(name, image, entry, "area", is_finite)
            if mask is None:
                lack = (
                    "mask: it counts for boxes alone" if box else "mask and no box: it is left out"
                )
                message = f"{_where(name, image)} has no {lack}"
                self._report(Finding("masks", message, is_error=False))
                if box is None:
                    continue
            rle = to_rle(mask, *image.size) if box is None or area is None else None
            if box is None:
                box = [0.0] * 4 if rle is None else mask_util.toBbox(rle).tolist()
            if area is None:
                area = float(rle_area(rle)) if mask else float(box[2] * box[3])
            category_id, is_crowd = int(entry["category_id"]), entry.get("iscrowd") == 1
            yield Annotation(name, entry, image, category_id, key, is_crowd, mask, box, area)

    def _read_value(
        self, name: str, image: Image, entry: dict, key: str, is_valid: Callable[[Any], bool]
    ) -> Any:
        """A value of an annotation; None if it is missing, or damaged."""
        value = entry.get(key)
        if value is None or is_valid(value):
            return value
        message = f"{_where(name, image)}: {value!r} in '{key}'; without the key it is computed"
        self._report(Finding(_GROUP, message))
        return None


def _is_annotation_file(content: Any, report: Report) -> bool:
    """Recognise the files that are most often taken for a COCO annotation file."""
    message = None
    if not isinstance(content, dict):
        message = (
            f"expected a JSON object with images and categories, got a {type(content).__name__}; "
            "a list is the format of results, not of annotations"
        )
    elif "images" not in content and "videos" in content:
        message = (
            "this has a list of videos: it is a YouTube-VIS file. Register it with the format "
            "'ytvis'"
        )
    elif "images" not in content and "shapes" in content:
        message = "this is LabelMe's file of one image; join your files to one in COCO format"
    if message:
        report(Finding("kind of file", message))
        return False
    return has_keys(
        content, ("images", "categories"), "the annotation file", "kind of file", report
    )


def _read_image(image_id: int, entry: dict, report: Report) -> Image | None:
    group, what, name = "images", f"image {image_id}", entry.get("file_name")
    if not has_keys(entry, ("height", "width"), what, group, report):
        return None
    if name is None:
        report(Finding(group, f"{what} has no 'file_name'", in_metric=False))
    elif not isinstance(name, str) or not name:
        message = f"{what} has the file name {name!r}, no text"
        report(Finding(group, message, in_metric=False))
        name = None
    sizes = {key: entry[key] for key in ("height", "width")}
    wrong = [key for key, size in sizes.items() if not is_integer(size) or size < 1]
    for key in wrong:
        report(Finding(group, f"{what} has {key} {sizes[key]!r}, no positive integer"))
    if wrong:
        return None
    if sizes["height"] * sizes["width"] >= _END_OF_PIXELS:
        message = (
            f"{what} has height x width {sizes['height']} x {sizes['width']}, more pixels than "
            "masks can have; correct them, or cut the image into smaller ones"
        )
        report(Finding(group, message))
        return None
    name = None if name is None else portable_path(name)
    return Image(image_id, int(sizes["height"]), int(sizes["width"]), name)


def _read_masks(
    image: Image, entries: list[tuple[str, int | None, dict]], report: Report
) -> dict[int, list[list[float]] | dict[str, Any] | None]:
    """The masks of an image by the place of the entry, without those that are damaged.

    They are polygons, compressed RLE, or None where there is no mask.
    """
    masks: dict[int, Any] = {}
    codes: dict[int, dict] = {}
    for index, (name, _, entry) in enumerate(entries):
        segmentation = entry.get("segmentation")
        if isinstance(segmentation, dict) and segmentation:
            codes[index] = segmentation
            continue
        try:
            polygons = _read_polygons(segmentation)
        except MaskError as error:
            report(Finding("masks", f"{_where(name, image)}: {error}"))
            continue
        masks[index] = polygons or None
        if polygons is not None and len(polygons) < len(segmentation):
            message = "a polygon of fewer than three points, which is left out"
            report(Finding("polygons", f"{_where(name, image)}: {message}", is_error=False))
    try:
        rles = dict(zip(codes, to_rles(list(codes.values()), *image.size), strict=True))
    except MaskError:
        rles = {}
        for index, code in codes.items():
            try:
                rles[index] = to_rle(code, *image.size)
            except MaskError as error:
                report(Finding("masks", f"{_where(entries[index][0], image)}: {error}"))
    nothing = {"size": list(image.size), "counts": compressed_text([image.height * image.width])}
    return masks | {index: rle or nothing for index, rle in rles.items()}


def _read_polygons(segmentation: Any) -> list[list[float]] | None:
    """The polygons of at least three points; None where there is no mask."""
    if segmentation is None or segmentation in ([], {}):
        return None
    check_polygons(segmentation)
    return [polygon for polygon in segmentation if len(polygon) >= MIN_POLYGON_NUMBERS]


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(is_finite, value))


def _where(name: str, image: Image) -> str:
    """An annotation in messages."""
    return f"{name} of image {image.id}" + (f" ({image.file_name})" if image.file_name else "")


def _only_crowds(count: int) -> str:
    return (
        f"all {count} annotations have iscrowd 1, so that there is nothing to learn or evaluate: "
        "crowds are regions of many objects, which both leave out. Many tools write iscrowd 1 for "
        'every mask in RLE; set "iscrowd": 0 for each annotation that is one object'
    )
