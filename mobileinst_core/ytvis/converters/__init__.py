"""Other annotation formats to YouTube-VIS files.

A source of annotations is sized and iterable: it gives one :class:`AnnotatedVideo` after the
other and holds no more than one in memory. :func:`build_content` joins them to the content of a
file.
"""

from .coco import CocoVideos
from .content import AnnotatedVideo, Track, build_content
from .id_masks import IdMaskVideos
from .labelme import LabelmeVideos

__all__ = [
    "AnnotatedVideo",
    "CocoVideos",
    "IdMaskVideos",
    "LabelmeVideos",
    "Track",
    "build_content",
]
