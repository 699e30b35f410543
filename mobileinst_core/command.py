"""What all commands do with errors that are meant for the user."""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

from .errors import UserError

__all__ = ["INTERRUPTED", "command"]

INTERRUPTED = 130  # the exit status that shells give to Ctrl-C

_P = ParamSpec("_P")


def command(main: Callable[_P, int | None]) -> Callable[_P, int]:
    """Make the main function of a command return an exit status, whatever happens to the user.

    A `UserError`, and an ``OSError`` such as a full disk, becomes one message on standard error.
    Everything else is a mistake of this project and keeps its traceback.

    Args:
        main: does the work; None counts as 0.

    Returns:
        The function, which returns what ``main`` does, 1 after an error and 130 after Ctrl-C.
    """

    @functools.wraps(main)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> int:
        try:
            return main(*args, **kwargs) or 0
        except (UserError, OSError) as error:
            sys.stderr.write(f"error: {error}\n")
            return 1
        except KeyboardInterrupt:
            sys.stderr.write("Interrupted.\n")
            return INTERRUPTED

    return run
