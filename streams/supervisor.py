"""Runs one process a stage, starts crashed ones again, and ends them all in order.

    HOME/workers.json              what runs: pids, ports, restarts (written by the supervisor alone)
    HOME/run/supervisor.pid        locked by the supervisor for its life
    HOME/run/worker-STAGE.pid      locked by the worker; HOME/logs/worker-STAGE.log holds its output

A worker that ends is started again, after a backoff that grows with each quick end and is forgotten once it
has lived long enough. The supervisor never gives up: what keeps a worker from living may mend itself.
"""

import contextlib
import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec

from streams.local import ports, process
from streams.local.part import answers, base_url, source_root
from streams.local.process import Process, ProcessFailed

Stage = Literal["classify", "route", "call", "sink", "relay"]
STAGES: Final[tuple[Stage, ...]] = get_args(Stage)
FORMAT: Final = 1
_STEP_S = 0.1


class WorkerState(msgspec.Struct, kw_only=True):
    """One worker. `state` is running, restarting (in its backoff) or stopped. Times: ms since the epoch."""

    stage: str
    state: str = "stopped"
    pid: int | None = None
    started: str | None = None
    port: int = 0
    restarts: int = 0
    since: int = 0
    next_start_at: int | None = None
    last_error: str | None = None


class SupervisorState(msgspec.Struct, kw_only=True):
    """What the state file holds. `environment`: by which settings the workers find the other parts."""

    format: int = FORMAT
    pid: int = 0
    environment: dict[str, str] = {}
    workers: list[WorkerState] = []


@dataclass(frozen=True)
class Policy:
    """Backoff and health, seconds. A worker whose /livez was good and then fails for `hung_s` is ended."""

    first_backoff_s: float = 0.5
    most_backoff_s: float = 30
    healthy_s: float = 30
    probe_every_s: float = 5
    hung_s: float = 60


def state_file(home: Path) -> Path:
    """The state file of a home directory."""
    return home / "workers.json"


def pid_file(home: Path) -> Path:
    """The file that the supervisor of a home directory keeps locked."""
    return home / "run" / "supervisor.pid"


def load_state(home: Path) -> SupervisorState | None:
    """What the last supervisor of `home` wrote; None where there was none or the file can't be read."""
    try:
        return msgspec.json.decode(state_file(home).read_bytes(), type=SupervisorState)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def running(home: Path) -> Process | None:
    """The supervisor that runs over `home`, or None."""
    return process.find(pid_file(home))


@dataclass
class Worker:
    """One stage's process, whichever it is at the moment."""

    stage: str
    command: Sequence[str]
    home: Path
    env: Mapping[str, str]
    policy: Policy
    now: Callable[[], float] = time.monotonic
    port_wanted: int = 0
    state: WorkerState = field(init=False)
    _process: Process | None = None
    _backoff_s: float = 0
    _start_at: float = 0
    _started_at: float = 0
    _probe_at: float = 0
    _alive_seen: float | None = None

    def __post_init__(self) -> None:
        self.state = WorkerState(stage=self.stage)

    @property
    def pid_file(self) -> Path:
        return self.home / "run" / f"worker-{self.stage}.pid"

    @property
    def log(self) -> Path:
        return self.home / "logs" / f"worker-{self.stage}.log"

    def step(self) -> bool:
        """Do what is due; true when the state changed."""
        if self._process is None:
            return self.now() >= self._start_at and self._start()
        if not self._process.alive():
            return self._ended(f"ended; {self.log} says why")
        if self._backoff_s and self.now() - self._started_at >= self.policy.healthy_s:
            self._backoff_s = 0
        return self.now() >= self._probe_at and self._probe()

    def _start(self) -> bool:
        self._end_leftover()
        if not self.state.port or not ports.is_free(self.state.port):
            wanted = self.port_wanted
            self.state.port = wanted if wanted and ports.is_free(wanted) else ports.choose()
        own = {"SLUICE_WEB_PORT": str(self.state.port), "SLUICE_WORKER_NAME": f"{self.stage}-{os.getpid()}"}
        try:
            self._process = process.start(
                self.command,
                pid_file=self.pid_file,
                log=self.log,
                env={**self.env, **own},
                cwd=source_root(),
                die_with_parent=True,
            )
        except ProcessFailed as error:
            return self._ended(str(error).splitlines()[0])
        self._started_at, self._alive_seen = self.now(), None
        self._probe_at = self.now() + self.policy.probe_every_s
        self._set(state="running")
        self.state.pid, self.state.started = self._process.pid, self._process.started
        return True

    def _end_leftover(self) -> None:
        """End a worker that outlived its supervisor (where the kernel could not tie it to it)."""
        left = process.find(self.pid_file)
        if left is not None:
            process.stop(left)

    def _ended(self, why: str) -> bool:
        self._process = None
        self.state.pid = self.state.started = None
        self.state.last_error = why
        self.state.restarts += 1
        policy = self.policy
        self._backoff_s = min(max(self._backoff_s * 2, policy.first_backoff_s), policy.most_backoff_s)
        self._start_at = self.now() + self._backoff_s
        self._set(state="restarting", starts_in_ms=int(self._backoff_s * 1000))
        return True

    def _probe(self) -> bool:
        self._probe_at = self.now() + self.policy.probe_every_s
        if answers(f"{base_url(self.state.port)}/livez", timeout_s=2):
            self._alive_seen = self.now()
        elif self._alive_seen is not None and self.now() - self._alive_seen > self.policy.hung_s:
            assert self._process is not None
            process.stop(self._process, term_s=self.policy.probe_every_s)
            return self._ended(f"/livez failed for {self.policy.hung_s:.0f} s: ended")
        return False

    def _set(self, *, state: str, starts_in_ms: int | None = None) -> None:
        self.state.state, self.state.since = state, _wall_ms()
        self.state.next_start_at = None if starts_in_ms is None else self.state.since + starts_in_ms

    def stop(self, term_s: float) -> bool:
        """End the process. False when it had to be killed."""
        orderly = process.stop(self._process, term_s=term_s) if self._process is not None else True
        self._process = None
        self.state.pid = self.state.started = None
        self._set(state="stopped")
        return orderly


class Supervisor:
    """Keeps workers running until `stop` is called, then drains them."""

    def __init__(
        self,
        home: Path,
        workers: Sequence[Worker],
        drain_timeout_s: float,
        report: Callable[[str], None],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._home, self._workers = home, workers
        self._environment = dict(environment or {})
        self._drain_timeout_s, self._report = drain_timeout_s, report
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Ask `run` to end the workers and return."""
        self._stopping.set()

    def run(self) -> None:
        """Supervise until `stop`. Raises ProcessFailed when another supervisor runs over the same home."""
        with hold(pid_file(self._home)):
            self._save()
            try:
                while not self._stopping.is_set():
                    if changed := [w for w in self._workers if w.step()]:
                        self._save()
                        for worker in changed:
                            self._report(_line(worker.state))
                    self._stopping.wait(_STEP_S)
            finally:
                self._drain()

    def _drain(self) -> None:
        self._report(f"stopping {len(self._workers)} workers (at most {self._drain_timeout_s:.0f} s)")
        with ThreadPoolExecutor(max(1, len(self._workers))) as pool:
            ends = list(pool.map(lambda w: w.stop(self._drain_timeout_s), self._workers))
        for worker, orderly in zip(self._workers, ends, strict=True):
            if not orderly:
                self._report(f"{worker.stage}: not drained in time, killed; its work is taken up again")
        self._save()

    def _save(self) -> None:
        workers = [w.state for w in self._workers]
        state = SupervisorState(pid=os.getpid(), environment=self._environment, workers=workers)
        path = state_file(self._home)
        new = path.with_suffix(".new")
        new.write_bytes(msgspec.json.format(msgspec.json.encode(state), indent=2))
        new.replace(path)


def _line(state: WorkerState) -> str:
    if state.state == "running":
        return f"{state.stage}: runs (pid {state.pid}, http://127.0.0.1:{state.port})"
    wait = ((state.next_start_at or 0) - _wall_ms()) / 1000
    return f"{state.stage}: {state.last_error}; start {state.restarts + 1} in {max(0.0, wait):.1f} s"


@contextlib.contextmanager
def hold(path: Path) -> Iterator[None]:
    """Keep `path` locked and this process's pid in it. Raises ProcessFailed when another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as f:
        deadline = time.monotonic() + 1  # whoever asks if it runs holds a shared lock for an instant
        while True:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    message = f"workers run already over {path.parent.parent}: end them with `sluice down`"
                    raise ProcessFailed(message) from None
                time.sleep(0.01)
        f.truncate(0)
        f.write(f"{os.getpid()}\n".encode())
        f.flush()
        yield


def on_signals(supervisor: Supervisor) -> None:
    """SIGTERM and SIGINT drain; a second one changes nothing."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
