"""Worker processes by place (a stage and a number): started, killed, drained, kept running."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from streams.local import ports

ROOT: Final = Path(__file__).parents[2]
STAGES: Final = ("classify", "route", "call", "sink", "relay")
Place = tuple[str, int]


@dataclass
class Worker:
    """One process. `code` is set at its end, negative for a signal."""

    place: Place
    number: int
    port: int
    log: Path
    crash_point: str = ""
    pid: int | None = None
    code: int | None = None
    wanted_end: bool = False

    @property
    def alive(self) -> bool:
        return self.code is None

    def __str__(self) -> str:
        armed = f", armed at {self.crash_point}" if self.crash_point else ""
        return f"{self.place[0]} worker {self.place[1]} (pid {self.pid}{armed}, log {self.log})"


@dataclass
class Fleet:
    """The workers of one pipeline. A worker that ended unasked is started again, without its crash point."""

    environment: dict[str, str]
    logs: Path
    workers: dict[Place, Worker] = field(default_factory=dict)
    ended: list[Worker] = field(default_factory=list)
    _by_number: dict[int, Worker] = field(default_factory=dict)
    _nursery: "subprocess.Popen[str] | None" = None
    _supervising: "asyncio.Task[None] | None" = None
    _ready: threading.Event = field(default_factory=threading.Event)
    _ports: set[int] = field(default_factory=set)

    async def open(self) -> None:
        """Start the nursery and the supervisor."""
        self.logs.mkdir(parents=True, exist_ok=True)
        self._nursery = subprocess.Popen(
            [sys.executable, "-m", "tests.pipeline.nursery"],
            cwd=ROOT, env={**os.environ, **self.environment}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        threading.Thread(target=self._listen, daemon=True).start()
        await until(self._ready.is_set, 60, "the nursery to be ready")
        self._supervising = asyncio.create_task(self._supervise())

    def start(self, place: Place, crash_point: str = "", **environment: str) -> Worker:
        """Start a worker in a free place."""
        before = self.workers.get(place)
        assert before is None or not before.alive, f"{before} runs"
        port = ports.choose(self._ports)
        self._ports.add(port)
        number = len(self._by_number) + 1
        log = self.logs / f"{place[0]}-{place[1]}.log"
        worker = Worker(place, number, port, log, crash_point)
        self.workers[place] = self._by_number[number] = worker
        env = {
            "SLUICE_WEB_PORT": str(port),
            "SLUICE_WORKER_NAME": f"{place[0]}-{place[1]}",
            "SLUICE_CRASH_POINT": crash_point,
            **environment,
        }
        self._order(do="start", id=number, stage=place[0], env=env, log=str(log))
        return worker

    def start_all(self, stages: Iterable[str] = STAGES, each: int = 2) -> list[Worker]:
        """Start workers 0 to `each` - 1 of each stage where none runs."""
        places = [(stage, number) for stage in stages for number in range(each)]
        return [self.start(p) for p in places if p not in self.workers or not self.workers[p].alive]

    def signal(self, worker: Worker, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        self._order(do="signal", id=worker.number, number=int(number))

    async def drain(self, worker: Worker, within_s: float = 60) -> None:
        """SIGTERM; it must end with exit code 0. It isn't started again."""
        worker.wanted_end = True
        self.signal(worker, signal.SIGTERM)
        await until(lambda: not worker.alive, within_s, f"{worker} to drain")
        assert worker.code == 0, f"{worker} ended with {worker.code} after SIGTERM: {tail(worker.log)}"

    async def kill(self, worker: Worker) -> None:
        """SIGKILL. It isn't started again."""
        worker.wanted_end = True
        self.signal(worker, signal.SIGKILL)
        await until(lambda: not worker.alive, 30, f"{worker} to die")

    async def ready(self, workers: Iterable[Worker] | None = None, within_s: float = 120) -> None:
        """Until each of them (by default: all) says that it is ready, and none has died meanwhile."""
        waiting = list(self.workers.values() if workers is None else workers)
        deadline = time.monotonic() + within_s
        async with httpx.AsyncClient(timeout=5) as http:
            while waiting:
                worker = waiting[-1]
                assert worker.alive, f"{worker} ended with {worker.code}: {tail(worker.log)}"
                assert time.monotonic() < deadline, f"{worker} isn't ready: {tail(worker.log)}"
                if await _answers(http, worker.port):
                    waiting.pop()
                else:
                    await asyncio.sleep(0.05)

    async def rest(self) -> None:
        """SIGTERM to all; they start again when they are needed."""
        await asyncio.gather(*(self.drain(worker) for worker in self.workers.values() if worker.alive))

    async def close(self) -> None:
        """End every worker, at once."""
        if self._supervising is not None:
            self._supervising.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervising
        if self._nursery is not None:
            self._nursery.kill()  # the workers die with it
            self._nursery.wait()

    def surprises(self) -> list[str]:
        """Workers that ended otherwise than they were asked to; each is told once."""
        ended, self.ended = self.ended, []
        return [f"{w} ended with {w.code}: {tail(w.log)}" for w in ended if not _as_asked(w)]

    def _order(self, **order: Any) -> None:
        assert self._nursery is not None and self._nursery.stdin is not None, "open() comes first"
        self._nursery.stdin.write(json.dumps(order) + "\n")
        self._nursery.stdin.flush()

    def _listen(self) -> None:
        assert self._nursery is not None and self._nursery.stdout is not None
        for line in self._nursery.stdout:
            report = json.loads(line)
            if "ready" in report:
                self._ready.set()
                continue
            worker = self._by_number[report["id"]]
            if "pid" in report:
                worker.pid = report["pid"]
            else:
                self.ended.append(worker)
                worker.code = report["code"]

    async def _supervise(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            for place, worker in list(self.workers.items()):
                if not worker.alive and not worker.wanted_end:
                    self.start(place)


def _as_asked(worker: Worker) -> bool:
    if worker.wanted_end:
        return worker.code in (0, -signal.SIGKILL)
    return bool(worker.crash_point) and worker.code == -signal.SIGKILL


async def _answers(http: httpx.AsyncClient, port: int) -> bool:
    try:
        return (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
    except httpx.TransportError:
        return False


async def until(condition: Any, within_s: float, what: str) -> None:
    """Poll until `condition()` (maybe awaitable) holds. Raises AssertionError that says what was waited for."""
    deadline = time.monotonic() + within_s
    while True:
        held = condition()
        if asyncio.iscoroutine(held):
            held = await held
        if held:
            return
        assert time.monotonic() < deadline, f"waited {within_s} s in vain for {what}"
        await asyncio.sleep(0.05)


def tail(log: Path, most: int = 3000) -> str:
    """The end of a log."""
    return log.read_text(errors="replace")[-most:] if log.exists() else "(no log)"
