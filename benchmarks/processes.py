"""Functions in processes of their own, pinned and with one thread, and the memory of processes."""

import ctypes
import gc
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple, TypeVar

from mobileinst_core.errors import UserError

Result = TypeVar("Result")

# What makes numerical libraries use one thread; they read it when they are loaded.
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "BLIS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMEXPR_NUM_THREADS",
    ),
    "1",
)

# Imported once, by the process that all workers are copies of.
_PRELOADED = ["processes", "latency_live"]
_TIME_TO_END = 10  # seconds, when the result is there
_SHOWN_LINES, _SHOWN_CHARACTERS = 2, 300


class WorkerError(UserError):
    """A function failed in its process, or took the process down; the message says how."""


def available_cores() -> set[int]:
    """The cores that this process may use; none where the system cannot pin processes."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def default_core() -> int | None:
    """The last core that this process may use; None where the system cannot pin processes."""
    return max(available_cores(), default=None)


def run_in_worker(
    function: Callable[..., Result],
    *args: object,
    core: int | None = None,
    timeout: float | None = None,
) -> Result:
    """Call a function in a new process with one thread.

    The process ends with this one, whatever ends it, and so do those that it has started.

    Args:
        function: of a module, so that the process can import it.
        args: its arguments, which can be pickled.
        core: number of the core that the process is pinned to; None = any.
        timeout: seconds after which the process is ended; None = never.

    Returns:
        What it returns.

    Raises:
        WorkerError: if the function raises, the process crashes, or the time is over.
    """
    # Workers get the environment of the server that is started before the first of them.
    os.environ.update(ONE_THREAD)
    context = multiprocessing.get_context("forkserver" if sys.platform != "win32" else "spawn")
    if sys.platform != "win32":
        context.set_forkserver_preload(_PRELOADED)
    receiver, sender = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        process = context.Process(
            target=_work, args=(sender, log, core, function, args), daemon=True
        )
        process.start()
        sender.close()
        try:
            if not receiver.poll(timeout):
                raise WorkerError(f"not finished after {timeout:g} s")
            error, result = receiver.recv()
            process.join(_TIME_TO_END)
        except EOFError:
            process.join()
            raise WorkerError(_describe_crash(process.exitcode, log)) from None
        finally:
            receiver.close()
            _kill(process)
    if error is not None:
        raise WorkerError(error)
    return result


def _work(sender: Connection, log: Path, core: int | None, function: Callable, args: tuple) -> None:
    """The life of a worker."""
    if hasattr(os, "setsid"):
        os.setsid()  # with all that it starts it is a group, which is ended as one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # What is left here by a worker that is ended goes with the folder.
    os.environ["TMPDIR"] = tempfile.tempdir = str(log.parent)
    # Libraries print as they like, below Python too.
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        result = None, function(*args)
    except Exception as error:  # whatever it is, the other workers go on
        result = _describe_error(error), None
    sender.send(result)
    sender.close()


def _end_with_parent() -> None:
    """End this worker, with what it has started, when the process that wants its result ends."""
    wait([multiprocessing.parent_process().sentinel])
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _kill(process: multiprocessing.Process) -> None:
    """End a worker, with what it has started."""
    if process.is_alive() and hasattr(os, "killpg"):
        # It is no group yet when it has only just been started.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _describe_error(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:_SHOWN_LINES])[:_SHOWN_CHARACTERS]
    return text if isinstance(error, WorkerError) else f"{type(error).__name__}: {text}"


def _describe_crash(exit_code: int | None, log: Path) -> str:
    end = f"exit status {exit_code}"
    if exit_code is not None and exit_code < 0:
        end = signal.Signals(-exit_code).name
    lines = [x for x in log.read_text(errors="replace").splitlines() if x.strip()]
    last = f": {lines[-1].strip()[:_SHOWN_CHARACTERS]}" if lines else ""
    return f"the process crashed ({end}){last}"


_STATUS = Path("/proc/self/status")


class ResidentMemory(NamedTuple):
    """Memory of this process that is in RAM, in bytes.

    Attributes:
        now: at the moment.
        peak: the most since the process began.
    """

    now: int
    peak: int


def resident_memory() -> ResidentMemory:
    """Measure this process.

    What was freed is given back to the system before: allocators keep it for later, more or less
    of it from one moment to the next, by tens of megabytes.

    Returns:
        What the kernel says.

    Raises:
        OSError: if this is not Linux.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # of the GNU C library
        trim(0)
    try:
        status = _STATUS.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError as error:
        raise OSError(f"memory can be measured on Linux only: there is no {_STATUS}") from error
    kibibytes = (re.search(rf"^{key}:\s+(\d+) kB$", status, re.M)[1] for key in ("VmRSS", "VmHWM"))
    return ResidentMemory(*(int(x) * 1024 for x in kibibytes))


def in_new_process(function: Callable[..., Result], *args: object) -> Result:
    """Call a function in a process of its own, which has no peak of anything before.

    Args:
        function: of a module, so that the process can import it.
        args: its arguments, which can be pickled.

    Returns:
        What it returns; exceptions come through too.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(function, *args).result()
