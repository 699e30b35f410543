"""Errors that are meant for the user."""

__all__ = ["UserError"]


class UserError(Exception):
    """Something that the user can mend; the message says what is wrong and what to do.

    Commands print it without a traceback and end with status 1.
    """
