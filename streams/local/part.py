"""What the parts of the embedded stack have in common: a command, a home, ports, a readiness check."""

import http.client
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import streams
from streams.local import process
from streams.local.ports import HOST
from streams.local.process import Process, ProcessFailed
from streams.local.state import PartName

Progress = Callable[[str], None]


@dataclass(kw_only=True)
class Part(ABC):
    """One server of the stack. `home` holds its data, logs and pid file; `ports` its ports by role."""

    home: Path
    ports: Mapping[str, int]
    die_with_parent: bool = False
    progress: Progress = field(default=lambda message: None, repr=False)

    name: ClassVar[PartName]
    title: ClassVar[str]
    roles: ClassVar[tuple[str, ...]] = ("http",)
    ready_s: ClassVar[float] = 120  # seconds; a machine under load takes its time
    found_ready_s: ClassVar[float] = 30  # for one that was found running, perhaps still at its start
    term_s: ClassVar[float] = 15

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The program and its arguments."""

    @abstractmethod
    def url(self) -> str:
        """How clients reach it."""

    @abstractmethod
    def ready(self) -> bool:
        """True when it serves its clients."""

    def env(self) -> Mapping[str, str]:
        """Variables added to the inherited environment."""
        return {}

    def cwd(self) -> Path | None:
        """The working directory; None for the caller's."""
        return None

    def prepare(self) -> None:  # noqa: B027  (most parts need nothing)
        """What must be on disk before the start. Must be repeatable after a crash at any point of it."""

    @property
    def data(self) -> Path:
        return self.home / "data" / self.name

    @property
    def log(self) -> Path:
        return self.home / "logs" / f"{self.name}.log"

    @property
    def pid_file(self) -> Path:
        return self.home / "run" / f"{self.name}.pid"

    def process(self) -> Process | None:
        """The running process, whoever started it, or None."""
        return process.find(self.pid_file)

    def start(self) -> Process:
        """Prepare and start it; returns before it is ready. Raises ProcessFailed when it can't start."""
        self.data.mkdir(parents=True, exist_ok=True)
        self.prepare()
        return process.start(
            self.command(),
            pid_file=self.pid_file,
            log=self.log,
            env=self.env(),
            cwd=self.cwd(),
            die_with_parent=self.die_with_parent,
        )

    def wait_ready(self, running: Process, deadline_s: float | None = None) -> None:
        """Return when it serves. Raises ProcessFailed, with the end of its log, if it never does."""
        seconds = self.ready_s if deadline_s is None else deadline_s
        process.wait_ready(running, self.ready, deadline_s=seconds, log=self.log, name=self.title)

    def stop(self) -> None:
        """End it in order, or by force when that takes longer than `term_s` seconds. Its data stays."""
        running = self.process()
        if running is not None:
            process.stop(running, term_s=self.term_s)


def answers(url: str, *, timeout_s: float = 2, expect: bytes | None = None) -> bool:
    """True when a GET of `url` gives a 200 (whose body, stripped, is `expect` if given)."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback never goes by a proxy
    try:
        with opener.open(url, timeout=timeout_s) as response:
            body: bytes = response.read()
    except (urllib.error.URLError, http.client.HTTPException, OSError):
        return False
    return expect is None or body.strip() == expect


def source_root() -> Path:
    """The directory that holds this package: `python -m streams...` finds it when started there."""
    package = Path(streams.__file__ or ".").resolve().parent
    return package.parent


def base_url(port: int) -> str:
    return f"http://{HOST}:{port}"


__all__ = ["HOST", "Part", "ProcessFailed", "Progress", "answers", "base_url", "source_root"]
