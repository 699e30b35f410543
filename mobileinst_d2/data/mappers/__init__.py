"""Mappers: from the records of a data set to the inputs of a model."""

from .clip_mapper import ClipMapper
from .copy_paste import CopyPasteMapper
from .image_mapper import ImageMapper
from .lazy_frames import LazyFrames
from .pseudo_clip_mapper import PseudoClipMapper

__all__ = ["ClipMapper", "CopyPasteMapper", "ImageMapper", "LazyFrames", "PseudoClipMapper"]
