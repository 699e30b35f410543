"""The names in the published files of SparseInst."""

from .published_layout import PublishedLayout

__all__ = ["SPARSEINST_LAYOUTS"]

SPARSEINST_LAYOUTS: tuple[PublishedLayout, ...] = ()
