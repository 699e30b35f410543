"""Annotation formats and data set registrations. Importing it registers the public data sets."""

from .builtin import register_builtin_datasets
from .custom import register_custom_datasets
from .pseudo_clips import register_pseudo_clips
from .synthetic import make_moving_shapes
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
