"""What happens when a command is told to end."""

import signal
import sys

__all__ = ["tidy_up_on_termination"]


def tidy_up_on_termination() -> None:
    """Let SIGTERM, and a terminal that is closed, end the program as an error does.

    Files and processes are then tidied up by ``with`` and ``finally``, as after Ctrl-C. To be
    called in the main thread.
    """
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            number = getattr(signal, name)
            # What ignores it already (nohup) goes on.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda received, _: sys.exit(128 + received))
