"""Checks of named options."""

from mobileinst_core.options import check_option

__all__ = ["check_option"]
