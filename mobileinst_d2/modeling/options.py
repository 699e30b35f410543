"""Checks of named options."""

from collections.abc import Iterable

__all__ = ["check_option"]


def check_option(key: str, value: str, options: Iterable[str]) -> None:
    """Make sure that a config value is one of the known ones.

    Args:
        key: the config key, for the message.
        value: its value.
        options: the known values.

    Raises:
        ValueError: naming key, value and the known values.
    """
    options = list(options)
    if value not in options:
        raise ValueError(f"{key} is {value!r}, choose one of {options}")
