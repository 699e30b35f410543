"""The names in the published files of FastInst."""

from .published_layout import PublishedLayout

__all__ = ["FASTINST_LAYOUTS"]

FASTINST_LAYOUTS: tuple[PublishedLayout, ...] = ()
