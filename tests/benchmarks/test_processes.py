import os
import signal
import sys
import time

import pytest
from processes import ONE_THREAD, WorkerError, run_in_worker

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and affinity of POSIX")


def describe_process():
    return os.getpid(), {name: os.environ.get(name) for name in ONE_THREAD}


def crash():
    print("about to crash", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def fail():
    raise ValueError("first line\nsecond line\nthird line")


def test_each_call_is_a_process_with_one_thread():
    first, second = run_in_worker(describe_process), run_in_worker(describe_process)
    assert len({first[0], second[0], os.getpid()}) == 3
    assert first[1] == dict.fromkeys(ONE_THREAD, "1")


def test_errors_and_crashes_end_the_worker_only():
    with pytest.raises(WorkerError, match=r"^ValueError: first line second line$"):
        run_in_worker(fail)
    with pytest.raises(WorkerError, match=r"crashed \(SIGSEGV\): about to crash"):
        run_in_worker(crash)
    with pytest.raises(WorkerError, match=r"crashed \(exit status 3\)"):
        run_in_worker(os._exit, 3)


def test_a_worker_that_does_not_end_is_ended():
    with pytest.raises(WorkerError, match=r"not finished after 0\.2 s"):
        run_in_worker(time.sleep, 600, timeout=0.2)
