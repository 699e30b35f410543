"""The names in the published files of YOLACT."""

from .published_layout import PublishedLayout

__all__ = ["YOLACT_LAYOUTS"]

YOLACT_LAYOUTS: tuple[PublishedLayout, ...] = ()
