"""Annotation formats and data set registrations."""

from mobileinst_core.ytvis.moving_shapes import make_moving_shapes

from .builtin import register_builtin_datasets
from .catalog import is_registered, is_video_dataset, load_videos
from .coco import load_coco_json, load_images, register_coco_json
from .custom import register_custom_datasets
from .pseudo_clips import register_pseudo_clips
from .registration import drop_records, keep_records
from .ytvis import load_ytvis_json, register_ytvis_instances

__all__ = [
    "drop_records",
    "is_registered",
    "is_video_dataset",
    "keep_records",
    "load_coco_json",
    "load_images",
    "load_videos",
    "load_ytvis_json",
    "make_moving_shapes",
    "register_builtin_datasets",
    "register_coco_json",
    "register_custom_datasets",
    "register_pseudo_clips",
    "register_ytvis_instances",
]
