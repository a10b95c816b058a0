"""Starts, finds and ends the processes of the embedded stack, across restarts of whoever started them.

A process is known by its pid together with its start time, so that a recycled pid is never signalled. The pid
stands in a pid file that the process itself locks for its life (see `launch`).
"""

import contextlib
import fcntl
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from streams.local import launch

_POLL_S = 0.02
_SPAWN_S = 10.0


class ProcessFailed(RuntimeError):
    """A process did not start, or ended before it was ready. The message carries the end of its log."""


@dataclass(frozen=True)
class Process:
    """A running process: `started` is what the kernel says of its start, in the kernel's own terms."""

    pid: int
    started: str

    def alive(self) -> bool:
        """True while this very process runs; a zombie, or another process under its pid, is not alive."""
        return _start_of(self.pid) == self.started


def identify(pid: int) -> Process | None:
    """The process that runs under `pid` now, or None."""
    started = _start_of(pid)
    return Process(pid, started) if started is not None else None


def find(pid_file: Path) -> Process | None:
    """The process that holds the lock on `pid_file`, or None if none does."""
    try:
        with pid_file.open("rb") as f:
            try:
                fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _locker(pid_file)
            return None
    except FileNotFoundError:
        return None


def _locker(pid_file: Path) -> Process | None:
    deadline = time.monotonic() + 1  # between taking the lock and writing the pid lie microseconds
    while time.monotonic() < deadline:
        text = pid_file.read_text()
        if text.endswith("\n"):
            return identify(int(text))
        time.sleep(_POLL_S)
    raise ProcessFailed(f"{pid_file} is locked but names no process: end whatever has it open")


def start(
    command: Sequence[str],
    *,
    pid_file: Path,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    die_with_parent: bool = False,
) -> Process:
    """Start `command` in a session of its own, its output appended to `log`, and return when it runs.

    `env` is added to the inherited environment. With `die_with_parent` the kernel ends it when this process
    ends, however that happens (Linux; elsewhere it has no effect). Raises ProcessFailed when `pid_file` is in
    use or the command cannot start.
    """
    pid_file.parent.mkdir(parents=True, exist_ok=True)
    if shutil.which(command[0]) is None:
        raise ProcessFailed(f"{command[0]}: no such program, or not executable")
    if find(pid_file) is not None:  # asked before the log of the running process is moved
        raise ProcessFailed(_why(launch.LOCKED, command, pid_file, log))
    _rotate(log)
    parent = os.getpid() if die_with_parent else 0
    pairs = [f"{k}={v}" for k, v in (env or {}).items()]
    full = [sys.executable, "-I", "-S", launch.__file__, str(pid_file), str(parent), *pairs, "--", *command]

    def spawn() -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            return subprocess.Popen(
                full, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    child = _from_lasting_thread(spawn) if die_with_parent else spawn()
    _reap_later(child)
    return _locked_by(child, command, pid_file, log)


def _locked_by(child: subprocess.Popen[bytes], command: Sequence[str], pid_file: Path, log: Path) -> Process:
    """The process of `child` once it holds its pid file. Raises ProcessFailed where it never does."""
    deadline = time.monotonic() + _SPAWN_S
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise ProcessFailed(_why(child.returncode, command, pid_file, log))
        found = find(pid_file)
        if found is not None and found.pid == child.pid:
            return found
        time.sleep(_POLL_S)
    child.kill()
    raise ProcessFailed(f"{command[0]} did not start within {_SPAWN_S:.0f} s")


def wait_ready(
    process: Process, ready: Callable[[], bool], *, deadline_s: float, log: Path, name: str
) -> None:
    """Poll `ready` until it is true. Raises ProcessFailed if the process ends before, or the time passes."""
    deadline = time.monotonic() + deadline_s
    while True:
        if not process.alive():
            raise ProcessFailed(f"{name} ended before it was ready. Its log ends:\n{tail(log)}")
        if ready():
            return
        if time.monotonic() > deadline:
            raise ProcessFailed(f"{name} was not ready within {deadline_s:.0f} s. Its log ends:\n{tail(log)}")
        time.sleep(_POLL_S * 2)


def stop(process: Process, *, term_s: float = 10, kill_s: float = 5) -> bool:
    """SIGTERM to the process, SIGKILL to its group after `term_s`. False if it had to be killed.

    Does nothing to a process that has ended, nor to one that merely has its pid.
    """
    if not process.alive():
        return True
    _signal(process, signal.SIGTERM)
    if _gone(process, term_s):
        return True
    _signal(process, signal.SIGKILL, group=True)
    if not _gone(process, kill_s):
        raise ProcessFailed(f"process {process.pid} did not end after SIGKILL: the kernel holds it")
    return False


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, or a note that there is none."""
    try:
        with log.open("rb") as f:
            f.seek(max(0, f.seek(0, os.SEEK_END) - 16_384))
            text = f.read().decode(errors="replace")
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(text.splitlines()[-lines:]) or "(an empty log)"


def rss_mb(process: Process) -> float | None:
    """Resident memory in MiB (Linux), None where it can't be read."""
    try:
        text = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return None


def _signal(process: Process, number: signal.Signals, *, group: bool = False) -> None:
    if not process.alive():
        return
    with contextlib.suppress(ProcessLookupError):
        if group and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)


def _gone(process: Process, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while process.alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _start_of(pid: int) -> str | None:
    """What identifies the start of the process `pid`; None if it does not run or is a zombie."""
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        state, threads, ticks_since_boot = fields[0], int(fields[17]), fields[19]
        # The first thread of a dying process may be a zombie while others still hold its ports and locks.
        return None if state in "ZX" and threads <= 1 else ticks_since_boot
    shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True)
    state, _, started = shown.stdout.strip().partition(" ")
    return started.strip() if started and not state.startswith("Z") else None


def _why(status: int, command: Sequence[str], pid_file: Path, log: Path) -> str:
    if status == launch.LOCKED:
        return f"{pid_file.stem} runs already ({pid_file} is locked)"
    return f"{command[0]} ended with status {status}. Its log ends:\n{tail(log)}"


def _rotate(log: Path) -> None:
    """Keep one earlier log beside the new one: a crash can be read after the restart that mended it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        log.replace(log.with_suffix(".previous.log"))


def _reap_later(child: subprocess.Popen[bytes]) -> None:
    """Wait for the child in the background, so that it never stays a zombie while this process lives."""
    threading.Thread(target=child.wait, name=f"reap-{child.pid}", daemon=True).start()


_Job = tuple[Callable[[], subprocess.Popen[bytes]], "Future[subprocess.Popen[bytes]]"]
_jobs: queue.Queue[_Job] = queue.Queue()
_worker: threading.Thread | None = None
_worker_lock = threading.Lock()


def _from_lasting_thread(spawn: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Run `spawn` in a thread that lives as long as this process.

    The kernel takes the thread that forked, not the process, for the parent whose death it reports: a child
    of a pool's thread would be ended together with the pool.
    """
    global _worker
    with _worker_lock:
        if _worker is None or not _worker.is_alive():  # not alive in a fork of the process that had it
            _worker = threading.Thread(target=_serve, name="spawner", daemon=True)
            _worker.start()
    future: Future[subprocess.Popen[bytes]] = Future()
    _jobs.put((spawn, future))
    return future.result(timeout=_SPAWN_S)


def _serve() -> None:
    while True:
        spawn, future = _jobs.get()
        try:
            future.set_result(spawn())
        except BaseException as error:  # handed to the caller, whose error it is
            future.set_exception(error)
