"""Images in the COCO format as videos of one frame, so that tools for videos take both."""

from typing import Any

__all__ = ["image_results_as_videos", "images_as_videos", "is_video_file"]


def is_video_file(content: Any) -> bool:
    """Whether the content of an annotation file is in the YouTube-VIS format, not in COCO's."""
    return isinstance(content, dict) and "videos" in content


def images_as_videos(content: dict[str, Any]) -> dict[str, Any]:
    """Turn a COCO annotation file into a YouTube-VIS one.

    Args:
        content: of a COCO file.

    Returns:
        A new content, where every image is a video of one frame with the id of the image. It has
        what the readers of YouTube-VIS files check, and nothing else.
    """
    return {
        "categories": content.get("categories"),
        "videos": [
            {**image, "length": 1, "file_names": [image.get("file_name")]}
            for image in content.get("images", ())
        ],
        "annotations": [
            {
                "id": entry.get("id"),
                "video_id": entry.get("image_id"),
                "category_id": entry.get("category_id"),
                "iscrowd": entry.get("iscrowd", 0),
                "segmentations": [entry.get("segmentation") or None],
            }
            for entry in content.get("annotations", ())
        ],
    }


def image_results_as_videos(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turn entries of a COCO results file, with masks, into those of a YouTube-VIS one."""
    return [
        {
            "video_id": entry.get("image_id"),
            "category_id": entry.get("category_id"),
            "score": entry.get("score"),
            "segmentations": [entry.get("segmentation") or None],
        }
        for entry in entries
    ]
