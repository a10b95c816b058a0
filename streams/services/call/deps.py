"""What the parts of the call service share."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from processors.clock import Clock
from processors.limits.backend import Backend, MemoryBackend
from processors.providers.content import Fetcher
from processors.providers.window import CountTokens, cannot_count
from schemas.codec import Codec
from schemas.config import Config
from streams.services.call.control import ControlState
from streams.services.call.deltas import Deltas
from streams.services.call.journal import Journal
from streams.services.call.targets import Targets
from streams.settings import Settings


class ConfigSource(Protocol):
    """Where configurations come from: `streams.config_watch.ConfigWatcher`."""

    def active(self) -> tuple[str, Config]:
        """The version that holds now, and its configuration."""

    def get(self, version: str) -> Config:
        """A configuration seen before. Raises KeyError."""

    async def fetch(self, version: str) -> Config:
        """A configuration, after reading to the end of what is published. Raises KeyError."""

    def add_listener(self, listener: Callable[[str, Config], None]) -> None:
        """Call `listener` with each version that becomes active."""


@dataclass(slots=True)
class CallDeps:
    """Everything a model's runner is given. `fatal` ends the process: unexpected errors crash the worker."""

    settings: Settings
    clock: Clock
    codec: Codec
    configs: ConfigSource
    journal: Journal
    control: ControlState
    targets: Targets
    fetcher: Fetcher
    deltas: Deltas
    worker: str
    fatal: Callable[[BaseException], None]
    limits: Backend = field(default_factory=MemoryBackend)
    jitter: Callable[[], float] = random.random
    count_tokens: CountTokens = cannot_count
