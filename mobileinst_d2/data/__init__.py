"""Data sets, loaders and mappers."""

from . import datasets
from .build import build_test_loader, build_train_loader
from .checks import check_num_classes
from .datasets import register_builtin_datasets, register_custom_datasets
from .mappers import ClipMapper, ImageMapper, LazyFrames, PseudoClipMapper

__all__ = [
    "ClipMapper",
    "ImageMapper",
    "LazyFrames",
    "PseudoClipMapper",
    "build_test_loader",
    "build_train_loader",
    "check_num_classes",
    "datasets",
    "register_builtin_datasets",
    "register_custom_datasets",
]
