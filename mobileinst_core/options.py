"""Checks of named options."""

from collections.abc import Iterable

from .errors import ConfigError

__all__ = ["check_option"]


def check_option(name: str, value: str, options: Iterable[str]) -> None:
    """Make sure that a value is one of the known ones; ConfigError with all of them if not.

    Args:
        name: of the argument or config key, for the message.
        value: its value.
        options: the known values.
    """
    options = list(options)
    if value not in options:
        raise ConfigError(f"{name} is {value!r}, choose one of {options}")
