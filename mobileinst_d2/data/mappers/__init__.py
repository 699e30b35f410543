"""Mappers: from the records of a data set to the inputs of a model."""

from .clip_mapper import ClipMapper
from .image_mapper import ImageMapper

__all__ = ["ClipMapper", "ImageMapper"]
