"""Errors that are meant for the user."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["ConfigError", "NotFiniteError", "UserError", "naming"]


class UserError(Exception):
    """Something that the user can mend; the message says what is wrong and what to do.

    Commands print it without a traceback and end with status 1.
    """


@contextmanager
def naming(place: str | os.PathLike) -> Iterator[None]:
    """Let the messages of user errors inside begin with the place that they are about.

    Args:
        place: a file or a part of one.
    """
    try:
        yield
    except UserError as error:
        raise UserError(f"{place}: {error}") from error


class ConfigError(UserError, ValueError):
    """A config file, key, override or data set that cannot be used."""


class NotFiniteError(UserError, FloatingPointError):
    """A training whose losses, gradients or weights are no numbers any more."""
