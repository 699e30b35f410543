"""Images in the COCO format as videos of one frame, so that tools for videos take both."""

from typing import Any

from mobileinst_core.entries import Finding, stop_at_error
from mobileinst_core.errors import UserError

from .annotations import CocoFile

__all__ = ["image_results_as_videos", "images_as_videos", "is_video_file"]


def is_video_file(content: Any) -> bool:
    """Whether the content of an annotation file is in the YouTube-VIS format, not in COCO's."""
    return isinstance(content, dict) and "videos" in content


def images_as_videos(content: Any) -> dict[str, Any]:
    """Turn a COCO annotation file into a YouTube-VIS one.

    Args:
        content: of a COCO file.

    Returns:
        A new content, where every image is a video of one frame with the id of the image. It has
        what the readers of YouTube-VIS files check, and nothing else; annotations have new ids.

    Raises:
        UserError: the content is malformed; the message names the entry.
    """

    def report(finding: Finding) -> None:
        if finding.in_metric:
            stop_at_error(finding)

    file = CocoFile(content, report)
    return {
        "categories": content["categories"],
        "videos": [
            {
                "id": image.id,
                "height": image.height,
                "width": image.width,
                "length": 1,
                "file_names": [image.file_name],
            }
            for image in file.images.values()
        ],
        "annotations": [
            {
                "id": number,
                "video_id": annotation.image.id,
                "category_id": annotation.category_id,
                "iscrowd": int(annotation.is_crowd),
                "segmentations": [annotation.segmentation],
            }
            for number, annotation in enumerate(file.annotations(), start=1)
        ],
    }


def image_results_as_videos(entries: list[Any]) -> list[Any]:
    """Turn entries of a COCO results file, with masks, into those of a YouTube-VIS one.

    Raises:
        UserError: an entry has no mask, as in results of boxes alone, which would count as wrong.
    """
    for number, entry in enumerate(entries):
        if isinstance(entry, dict) and "segmentation" not in entry:
            raise UserError(
                f"results: entry number {number} (image {entry.get('image_id')}) has no "
                "'segmentation'; results of boxes alone have nothing to compare with masks"
            )
    return [
        {
            "video_id": entry.get("image_id"),
            "category_id": entry.get("category_id"),
            "score": entry.get("score"),
            "segmentations": [entry.get("segmentation") or None],
        }
        if isinstance(entry, dict)
        else entry  # which the reader of results refuses
        for entry in entries
    ]
