import os
import sys

import numpy as np
import processes
import pytest

MIB = 2**20


def measure(block: int) -> tuple:
    """Resident memory before, while and after 64 MiB are held."""
    before = processes.resident_memory()
    held = [np.ones(block, np.uint8) for _ in range(64 * MIB // block)]
    during = processes.resident_memory()
    held.clear()
    return before, during, processes.resident_memory()


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux")
def test_what_is_held_is_counted_and_what_is_freed_is_not():
    # In a process of its own: this one may hold what the system takes back meanwhile.
    before, during, after = processes.in_new_process(measure, 64 * 1024)
    assert 60 * MIB < during.now - before.now < 90 * MIB
    assert abs(after.now - before.now) < 10 * MIB
    # The kernel notes the peak in steps of some pages.
    assert after.peak > during.now - MIB
    assert during.peak >= before.peak


def test_a_function_runs_in_a_process_of_its_own():
    assert processes.in_new_process(os.getpid) != os.getpid()
    with pytest.raises(ValueError, match="invalid literal"):
        processes.in_new_process(int, "seven")
