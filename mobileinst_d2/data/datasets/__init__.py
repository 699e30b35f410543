"""Annotation formats and data set registrations. Importing it registers the public data sets."""

from mobileinst_core.ytvis.moving_shapes import make_moving_shapes

from .builtin import register_builtin_datasets
from .custom import register_custom_datasets
from .pseudo_clips import register_pseudo_clips
from .ytvis import load_ytvis_json, register_ytvis_instances

__all__ = [
    "load_ytvis_json",
    "make_moving_shapes",
    "register_builtin_datasets",
    "register_custom_datasets",
    "register_pseudo_clips",
    "register_ytvis_instances",
]

register_builtin_datasets()
