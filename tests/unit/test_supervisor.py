"""The supervisor over real processes: restarts, backoff, draining, and what it never touches."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from streams import supervisor as sv
from streams.local import process
from streams.local.process import ProcessFailed

QUICK = sv.Policy(first_backoff_s=0.05, most_backoff_s=0.2, healthy_s=30, probe_every_s=60)
SLEEPS = [sys.executable, "-c", "import time; time.sleep(600)"]
CRASHES = [sys.executable, "-c", "raise SystemExit(3)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('deaf', flush=True); time.sleep(600)",
]


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


@contextmanager
def supervised(
    home: Path, commands: dict[str, Sequence[str]], drain_s: float = 5, policy: sv.Policy = QUICK
) -> Iterator[sv.Supervisor]:
    workers = [sv.Worker(stage, command, home, {}, policy) for stage, command in commands.items()]
    supervisor = sv.Supervisor(home, workers, drain_s, report=lambda line: None)
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()
        thread.join(30)
        assert not thread.is_alive()


def worker(home: Path, stage: str = "call") -> sv.WorkerState:
    state = sv.load_state(home)
    found = [w for w in state.workers if w.stage == stage] if state else []
    return found[0] if found else sv.WorkerState(stage=stage)


def test_a_killed_worker_is_started_again_and_the_restart_is_shown(tmp_path: Path) -> None:
    with supervised(tmp_path, {"call": SLEEPS}):
        until(lambda: worker(tmp_path).state == "running")
        first = worker(tmp_path).pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        until(lambda: worker(tmp_path).pid not in (None, first))
        assert worker(tmp_path).restarts == 1
        assert "logs" in (worker(tmp_path).last_error or "")


def test_a_worker_that_keeps_crashing_is_tried_for_ever_with_growing_waits(tmp_path: Path) -> None:
    with supervised(tmp_path, {"call": CRASHES, "sink": SLEEPS}):
        until(lambda: worker(tmp_path).restarts >= 4)
        until(lambda: worker(tmp_path).state == "restarting")
        waiting = worker(tmp_path)
        assert waiting.next_start_at is not None
        assert waiting.next_start_at - waiting.since == 200  # the longest wait of this policy, ms
        assert worker(tmp_path, "sink").restarts == 0


def test_backoff_is_forgotten_after_a_healthy_while() -> None:
    now = [0.0]
    crashing = sv.Worker("call", CRASHES, Path("unused"), {}, sv.Policy(1, 30, 10, 5, 60), now=lambda: now[0])
    crashing._backoff_s, crashing._started_at, crashing._probe_at = 8, 0.0, 1e9
    crashing._process = process.identify(os.getpid())
    now[0] = 9.9
    crashing.step()
    assert crashing._backoff_s == 8
    now[0] = 10.0
    crashing.step()
    assert crashing._backoff_s == 0


def test_stopping_ends_every_worker_and_says_so(tmp_path: Path) -> None:
    with supervised(tmp_path, {"call": SLEEPS, "sink": SLEEPS}):
        until(lambda: worker(tmp_path).pid and worker(tmp_path, "sink").pid)
        pids = [worker(tmp_path).pid, worker(tmp_path, "sink").pid]
    assert [process.identify(p or 0) for p in pids] == [None, None]
    assert worker(tmp_path).state == worker(tmp_path, "sink").state == "stopped"
    assert sv.running(tmp_path) is None


def test_a_worker_that_does_not_drain_in_time_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "worker-call.log"
    with supervised(tmp_path, {"call": STUBBORN}, drain_s=0.5):
        until(lambda: log.exists() and "deaf" in log.read_text())
        pid = worker(tmp_path).pid
        asked = time.monotonic()
    assert process.identify(pid or 0) is None
    assert time.monotonic() - asked < 10


def test_only_one_supervisor_runs_over_a_home(tmp_path: Path) -> None:
    with supervised(tmp_path, {"call": SLEEPS}):
        until(lambda: sv.running(tmp_path) is not None)
        with pytest.raises(ProcessFailed, match="sluice down"):
            sv.Supervisor(tmp_path, [], 1, report=print).run()
        assert worker(tmp_path).restarts == 0


def test_a_process_that_merely_has_a_remembered_pid_is_left_alone(tmp_path: Path) -> None:
    bystander = subprocess.Popen(SLEEPS)
    try:
        pid_file = tmp_path / "run" / "worker-call.pid"
        pid_file.parent.mkdir(parents=True)
        pid_file.write_text(f"{bystander.pid}\n")  # left by a worker whose pid was given to another program
        with supervised(tmp_path, {"call": SLEEPS}):
            until(lambda: worker(tmp_path).state == "running")
            assert bystander.poll() is None
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_workers_get_ports_of_their_own(tmp_path: Path) -> None:
    with supervised(tmp_path, {"call": SLEEPS, "sink": SLEEPS}):
        until(lambda: worker(tmp_path).pid and worker(tmp_path, "sink").pid)
        assert worker(tmp_path).port != worker(tmp_path, "sink").port
        assert min(worker(tmp_path).port, worker(tmp_path, "sink").port) > 1024
