"""The embedded stack over one home directory: started, found again after any crash, ended without loss.

    HOME/stack.json   ports, addresses and pids of the parts (for people and scripts)
    HOME/data/PART    what a part keeps; stays when the stack goes down
    HOME/logs/PART.log, HOME/run/PART.pid
"""

import contextlib
import fcntl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from streams.local import ports
from streams.local.clickhouse import ClickHouse
from streams.local.kafka import Kafka
from streams.local.model_server import ModelServer
from streams.local.packages import Packages, Tool
from streams.local.part import Part, Progress
from streams.local.process import Process, ProcessFailed, rss_mb
from streams.local.registry import Registry
from streams.local.state import PART_NAMES, Entry, PartName, State

_TRIES = 3


@dataclass(frozen=True)
class Endpoints:
    """Where the parts answer; an empty string for a part that was never started."""

    brokers: str = ""
    registry_url: str = ""
    clickhouse_url: str = ""
    model_url: str = ""


@dataclass(frozen=True)
class PartStatus:
    """What is known of one part. `ready` is asked of the part itself; `rss_mb` is its memory in MiB."""

    name: PartName
    title: str
    running: bool
    ready: bool
    url: str
    pid: int | None
    rss_mb: float | None
    log: Path


class Stack:
    """The parts of one home directory. `cache` holds the fetched packages and may serve many homes.

    A part that starts takes the port that it had, where that is free. With `well_known` it takes the one that
    documents name (`ports.WELL_KNOWN`), where that is free, before any other.
    """

    def __init__(
        self,
        home: Path,
        cache: Path,
        *,
        die_with_parent: bool = False,
        tool: Tool | None = None,
        well_known: bool = False,
    ) -> None:
        self.home = home.resolve()
        self._packages = Packages(cache.resolve(), tool=tool)
        self._well_known = well_known
        self._die_with_parent = die_with_parent
        self._state_lock = threading.Lock()

    def up(self, parts: Iterable[PartName] = PART_NAMES, progress: Progress | None = None) -> Endpoints:
        """Start the named parts that don't run, mend those that don't answer, and return when all serve.

        `progress` is called with one line for each step, from several threads in turn. Raises ProcessFailed
        or PackagesUnavailable when a part can't be brought up; the others then run on.
        """
        wanted = list(dict.fromkeys(parts))
        say = _one_at_a_time(progress)
        self._packages.progress = say
        with self._exclusive(), ThreadPoolExecutor(len(PART_NAMES)) as pool:
            futures = [pool.submit(self._bring_up, name, say) for name in wanted]
            failures = [error for f in futures if (error := f.exception()) is not None]
        if failures:
            raise failures[0]
        return self.endpoints()

    def down(self, parts: Iterable[PartName] = PART_NAMES, progress: Progress | None = None) -> None:
        """End the named parts in order; their data stays. Does nothing for a part that doesn't run."""
        say = _one_at_a_time(progress)
        with self._exclusive(), ThreadPoolExecutor(len(PART_NAMES)) as pool:
            for done in [pool.submit(self._bring_down, name, say) for name in parts]:
                done.result()

    def status(self) -> list[PartStatus]:
        """The state of every part that was ever started here, as it is now."""
        entries = State.load(self._state_file).parts
        started = (name for name in PART_NAMES if name in entries)
        return [self._status_of(self._part(name, entries[name].ports)) for name in started]

    def endpoints(self) -> Endpoints:
        """The addresses in the state file, whether or not the parts run."""
        urls = {name: entry.url for name, entry in State.load(self._state_file).parts.items()}
        return Endpoints(
            brokers=urls.get("kafka", ""),
            registry_url=urls.get("registry", ""),
            clickhouse_url=urls.get("clickhouse", ""),
            model_url=urls.get("model", ""),
        )

    @property
    def _state_file(self) -> Path:
        return self.home / "stack.json"

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One `up` or `down` of a home at a time, whichever process runs it."""
        run = self.home / "run"
        run.mkdir(parents=True, exist_ok=True)
        with (run / "stack.lock").open("ab") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            yield

    def _part(self, name: PartName, chosen: dict[str, int]) -> Part:
        home, bound, packages = self.home, self._die_with_parent, self._packages
        match name:
            case "kafka":
                return Kafka(home=home, ports=chosen, die_with_parent=bound, packages=packages)
            case "registry":
                return Registry(home=home, ports=chosen, die_with_parent=bound, packages=packages)
            case "clickhouse":
                return ClickHouse(home=home, ports=chosen, die_with_parent=bound)
            case "model":
                return ModelServer(home=home, ports=chosen, die_with_parent=bound)

    def _bring_up(self, name: PartName, say: Progress) -> None:
        entry = State.load(self._state_file).parts.get(name)
        part = self._part(name, dict(entry.ports) if entry else {})
        running = part.process()
        if running is not None:
            if entry is not None and self._serves(part, running):
                self._remember(part, running)
                say(f"{part.title}: runs at {part.url()}")
                return
            if running.alive():
                say(f"{part.title}: runs but does not answer; starting it anew")
            part.stop()
        self._start(part, say)

    def _start(self, part: Part, say: Progress) -> None:
        for attempt in range(1, _TRIES + 1):
            with ports.reserved(self._hoped_for(part), self._packages.cache) as ours:
                part = replace(part, ports=self._ports_for(part, ours))
                self._remember(part, None)
                begun = time.monotonic()
                try:
                    running = part.start()
                    self._remember(part, running)
                    part.wait_ready(running)
                except ProcessFailed:
                    part.stop()
                    if attempt == _TRIES or all(ports.is_free(p) for p in part.ports.values()):
                        raise
                    say(f"{part.title}: a port was taken meanwhile; trying others")
                    continue
            say(f"{part.title}: ready at {part.url()} after {time.monotonic() - begun:.1f} s")
            return

    @staticmethod
    def _serves(part: Part, running: Process) -> bool:
        try:
            part.wait_ready(running, part.found_ready_s)
        except ProcessFailed:
            return False
        return True

    def _hoped_for(self, part: Part) -> set[int]:
        """The well-known ports that the part would take, were they free."""
        known = {role: port for role in part.roles if (port := ports.WELL_KNOWN.get(f"{part.name}.{role}"))}
        return {port for role, port in known.items() if self._well_known or part.ports.get(role) == port}

    def _ports_for(self, part: Part, reserved: set[int]) -> dict[str, int]:
        """Its well-known ports of `reserved`, else those it had where they are free, else new ones.

        No port is another part's of this home, and no well-known port is taken that isn't reserved.
        """
        chosen: dict[str, int] = {}
        with self._state_lock:
            state = State.load(self._state_file)
            taken = {p for name, e in state.parts.items() if name != part.name for p in e.ports.values()}
            for role in part.roles:
                known = ports.WELL_KNOWN.get(f"{part.name}.{role}")
                port = known if known in reserved - taken else part.ports.get(role)
                if port is None or (port == known and port not in reserved - taken) or not ports.is_free(port):
                    port = ports.choose(taken | set(chosen.values()))
                chosen[role] = port
            return chosen

    def _bring_down(self, name: PartName, say: Progress) -> None:
        entry = State.load(self._state_file).parts.get(name)
        part = self._part(name, dict(entry.ports) if entry else {})
        if part.process() is None:
            return
        begun = time.monotonic()
        part.stop()
        if entry is not None:
            self._remember(part, None)
        say(f"{part.title}: stopped after {time.monotonic() - begun:.1f} s")

    def _remember(self, part: Part, running: Process | None) -> None:
        entry = Entry(ports=dict(part.ports), url=part.url(), pid=running.pid if running else None)
        with self._state_lock:
            State.load(self._state_file).with_part(part.name, entry).save(self._state_file)

    def _status_of(self, part: Part) -> PartStatus:
        running = part.process()
        return PartStatus(
            name=part.name,
            title=part.title,
            running=running is not None,
            ready=running is not None and part.ready(),
            url=part.url(),
            pid=running.pid if running else None,
            rss_mb=rss_mb(running) if running else None,
            log=part.log,
        )


def _one_at_a_time(progress: Progress | None) -> Callable[[str], None]:
    lock = threading.Lock()

    def say(message: str) -> None:
        if progress is not None:
            with lock:
                progress(message)

    return say
