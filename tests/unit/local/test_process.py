"""Processes are started once, found again by anybody, and ended; nothing else is ever signalled."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from streams.local import process
from streams.local.process import Process, ProcessFailed

TALKER = "import sys, time; print(sys.argv[1], flush=True); time.sleep(60)"
FAMILY = (
    "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    "print(child.pid, flush=True); time.sleep(60)"
)
# Starts `sleep` bound to its own life from a pool's thread, lets the pool end, and reports.
PARENT = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from streams.local import process
home = Path(sys.argv[1])
with ThreadPoolExecutor(1) as pool:
    where = dict(pid_file=home / "s.pid", log=home / "s.log")
    job = pool.submit(process.start, ["sleep", "60"], die_with_parent=True, **where)
    print(job.result().pid, flush=True)
time.sleep(60)
"""


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


class Starter:
    """Starts commands in one directory and ends what is left of them."""

    def __init__(self, home: Path) -> None:
        self.pid_file, self.log = home / "part.pid", home / "part.log"
        self.started: list[Process] = []

    def __call__(self, *command: str, **more: object) -> Process:
        running = process.start(command, pid_file=self.pid_file, log=self.log, **more)  # type: ignore[arg-type]
        self.started.append(running)
        return running


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    starter = Starter(tmp_path)
    yield starter
    for running in starter.started:
        process.stop(running, term_s=0)


def test_a_started_process_is_found_again_and_stopped(start: Starter) -> None:
    running = start("sleep", "60")
    assert process.find(start.pid_file) == running
    assert process.stop(running) is True
    assert process.find(start.pid_file) is None
    assert not running.alive()


def test_output_goes_to_the_log_and_the_last_log_is_kept(start: Starter) -> None:
    first = start(sys.executable, "-c", TALKER, "first")
    until(lambda: process.tail(start.log) == "first")
    process.stop(first)
    start(sys.executable, "-c", TALKER.replace("flush", "file=sys.stderr, flush"), "second")
    until(lambda: process.tail(start.log) == "second")
    assert start.log.with_suffix(".previous.log").read_text() == "first\n"


def test_variables_and_directory_reach_the_process(start: Starter, tmp_path: Path) -> None:
    program = "import os, sys; sys.argv[1] = str([os.environ['A'], 'PATH' in os.environ, os.getcwd()]);"
    start(sys.executable, "-c", program + TALKER, "", env={"A": "x=y z"}, cwd=tmp_path)
    until(lambda: process.tail(start.log) != "(an empty log)")
    assert process.tail(start.log) == str(["x=y z", True, str(tmp_path)])


def test_a_second_start_is_refused_while_the_first_runs(start: Starter) -> None:
    first = start(sys.executable, "-c", TALKER, "first")
    until(lambda: process.tail(start.log) == "first")
    with pytest.raises(ProcessFailed, match=r"part runs already"):
        start("sleep", "60")
    assert process.find(start.pid_file) == first
    assert process.tail(start.log) == "first", "its log was moved away"


def test_of_two_simultaneous_starts_one_wins(start: Starter) -> None:
    together = threading.Barrier(2)

    def attempt() -> Process | None:
        together.wait()
        try:
            return start("sleep", "60")
        except ProcessFailed:
            return None

    with ThreadPoolExecutor(2) as pool:
        won = [f.result() for f in [pool.submit(attempt), pool.submit(attempt)]]
    assert won.count(None) == 1
    assert process.find(start.pid_file) in won


def test_a_crash_frees_the_pid_file(start: Starter) -> None:
    first = start("sleep", "60")
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: not first.alive())
    assert start.pid_file.read_text() == f"{first.pid}\n", "the pid is still written there"
    assert process.find(start.pid_file) is None
    second = start("sleep", "60")
    assert process.find(start.pid_file) == second != first


def test_a_recycled_pid_is_never_signalled(start: Starter) -> None:
    bystander = start("sleep", "60")
    earlier = Process(bystander.pid, started="0")
    assert not earlier.alive()
    assert process.stop(earlier) is True
    assert bystander.alive()


def test_a_process_that_ignores_sigterm_is_killed_with_its_children(start: Starter) -> None:
    running = start(sys.executable, "-c", FAMILY)
    until(lambda: start.log.read_text().endswith("\n"))
    child = process.identify(int(start.log.read_text()))
    assert child is not None
    assert process.stop(running, term_s=0.2) is False
    until(lambda: not child.alive())


def test_a_process_of_another_parent_is_stopped_too(tmp_path: Path) -> None:
    program = PARENT.replace("die_with_parent=True, ", "").replace("time.sleep(60)", "")
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, capture_output=True)
    orphan = process.find(tmp_path / "s.pid")
    assert orphan is not None
    assert process.stop(orphan) is True


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_a_bound_process_outlives_the_thread_but_not_the_parent_that_started_it(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = process.identify(int(parent.stdout.readline()))
    assert child is not None
    time_of_pool_end = time.monotonic() + 0.3
    until(lambda: time.monotonic() > time_of_pool_end)
    assert child.alive(), "the pool's end must not end it"
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not child.alive())


def test_a_program_that_does_not_exist_is_named(start: Starter) -> None:
    with pytest.raises(ProcessFailed, match="no-such-program"):
        start("no-such-program")


def test_waiting_ends_when_the_process_is_ready(start: Starter) -> None:
    running = start(sys.executable, "-c", TALKER, "up")
    up = lambda: process.tail(start.log) == "up"  # noqa: E731
    process.wait_ready(running, up, deadline_s=10, log=start.log, name="it")
    assert running.alive()


def test_waiting_tells_the_log_of_a_process_that_ended(start: Starter) -> None:
    running = start(sys.executable, "-c", TALKER, "out of cheese")
    until(lambda: process.tail(start.log) == "out of cheese")
    os.kill(running.pid, signal.SIGKILL)
    with pytest.raises(ProcessFailed, match=r"it ended before it was ready.*\n.*out of cheese"):
        process.wait_ready(running, lambda: False, deadline_s=10, log=start.log, name="it")


def test_waiting_ends_at_its_deadline(start: Starter) -> None:
    running = start("sleep", "60")
    with pytest.raises(ProcessFailed, match=r"it was not ready within 0 s"):
        process.wait_ready(running, lambda: False, deadline_s=0.05, log=start.log, name="it")


def test_nothing_is_found_where_nothing_was_started(tmp_path: Path) -> None:
    assert process.find(tmp_path / "none.pid") is None


def test_memory_of_a_running_process_is_known() -> None:
    this = process.identify(os.getpid())
    assert this is not None
    assert sys.platform != "linux" or 1 < (process.rss_mb(this) or 0) < 1000
