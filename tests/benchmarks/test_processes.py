import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from processes import ONE_THREAD, WorkerError, default_core, run_in_worker

from mobileinst_core.command import tidy_up_on_termination

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


@pytest.mark.skipif(default_core() is None, reason="this system cannot pin processes")
def test_a_worker_is_pinned_to_its_core():
    core = default_core()
    before = os.sched_getaffinity(0)
    assert run_in_worker(os.sched_getaffinity, 0, core=core) == {core}
    assert os.sched_getaffinity(0) == before


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


def work_and_sleep(file):
    """Work for minutes, in a process that was started too, after telling who works where."""
    child = subprocess.Popen(["sleep", "600"])
    partial = file.with_suffix(".partial")
    partial.write_text(f"{os.getpid()} {child.pid} {tempfile.mkdtemp()}")
    partial.rename(file)
    time.sleep(600)


def is_running(pid):
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until(condition):
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="looks for processes in /proc"
)


@needs_proc
def test_what_is_told_to_end_ends_its_worker_first(tmp_path):
    def terminate():
        wait_until((tmp_path / "told").exists)
        os.kill(os.getpid(), signal.SIGTERM)

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        tidy_up_on_termination()
        threading.Thread(target=terminate, daemon=True).start()
        with pytest.raises(SystemExit):
            run_in_worker(work_and_sleep, tmp_path / "told", timeout=120)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    *pids, scratch = (tmp_path / "told").read_text().split()
    wait_until(lambda: not any(map(is_running, pids)))
    assert not Path(scratch).exists()
