"""Resident memory of processes."""

import ctypes
import gc
import multiprocessing
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

__all__ = ["ResidentMemory", "in_new_process", "resident_memory"]

Result = TypeVar("Result")

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
