"""What all commands do with errors that are meant for the user."""

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TextIO

from .errors import UserError

__all__ = [
    "INTERRUPTED",
    "Ended",
    "command",
    "ending_well",
    "finish_undisturbed",
    "needed_packages",
    "tidy_up_on_termination",
]

INTERRUPTED = 130  # the exit status that shells give to Ctrl-C
_SIGNALS = ("SIGTERM", "SIGHUP")
_CLOSED_PIPE = 13  # SIGPIPE, also where the system has none

_P = ParamSpec("_P")


def command(main: Callable[_P, int | None]) -> Callable[_P, int]:
    """Make the main function of a command return an exit status, whatever happens to the user.

    A `UserError`, and an ``OSError`` such as a full disk, becomes one message on standard error.
    Everything else is a mistake of this project and keeps its traceback.

    Returns:
        The function, which returns what ``main`` does (0 for None), 1 after an error and 130 after
        Ctrl-C.
    """

    @functools.wraps(main)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> int:
        try:
            return main(*args, **kwargs) or 0
        except (UserError, OSError) as error:
            sys.stderr.write(f"error: {error}\n")
            return 1
        except Ended as error:
            # Where standard error was a closed pipe, it leads nowhere by now.
            sys.stderr.write(f"Ended: {error}.\n")
            return 128 + error.signal
        except KeyboardInterrupt:
            sys.stderr.write("Interrupted.\n")
            return INTERRUPTED

    return run


@contextlib.contextmanager
def needed_packages() -> Iterator[None]:
    """Let the imports inside end the command with one sentence if a package is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = error.name.split(".")[0]
        sys.exit(
            f"error: this command needs the package {package}, which is not installed: "
            f"pip install {package}"
        )


class Ended(KeyboardInterrupt):
    """The program is to end, as with Ctrl-C.

    Attributes:
        signal: number of the signal that says so.
    """

    def __init__(self, reason: str, signal_number: int) -> None:
        super().__init__(reason)
        self.signal = signal_number


@contextlib.contextmanager
def ending_well() -> Iterator[None]:
    """Let SIGTERM, SIGHUP and a closed standard output or error raise `Ended` inside.

    As after Ctrl-C, files are finished.
    """
    streams = sys.stdout, sys.stderr
    watched = [_Stream(stream) for stream in streams]
    sys.stdout, sys.stderr = watched
    try:
        with _signals_raise():
            yield
        for stream in watched:
            # What waits in memory would only fail when Python ends.
            stream.flush()
    finally:
        sys.stdout, sys.stderr = streams


def finish_undisturbed() -> None:
    """Let SIGTERM and SIGHUP be ignored until `ending_well` ends: all that is left is to finish."""
    for number in _handled_signals():
        signal.signal(number, signal.SIG_IGN)


def tidy_up_on_termination() -> None:
    """Let SIGTERM, and a terminal that is closed, end the program as an error does.

    Files and processes are then tidied up by ``with`` and ``finally``, as after Ctrl-C. To be
    called in the main thread.
    """
    for number in _handled_signals():
        # What ignores it already (nohup) goes on.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda received, _: sys.exit(128 + received))


def _handled_signals() -> list[int]:
    if threading.current_thread() is not threading.main_thread():
        return []
    return [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    def end(number: int, _frame: Any) -> None:
        finish_undisturbed()  # once is enough
        raise Ended(signal.Signals(number).name, number)

    # What is ignored stays so: nohup does that.
    handlers = {number: signal.getsignal(number) for number in _handled_signals()}
    before = {number: x for number, x in handlers.items() if x is not signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, end)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Stream:
    """A text stream whose reader may go away."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._watch():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._watch():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _watch(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            # What else is written, while files are finished, goes nowhere.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            raise Ended("nobody reads the output", _CLOSED_PIPE) from None
