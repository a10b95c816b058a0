"""What the parts of the call service share."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from processors.clock import Clock
from processors.limits.backend import Backend, MemoryBackend
from processors.providers.adapters import adapter_of, transport_of
from processors.providers.base import Adapter
from processors.providers.call import Transport
from processors.providers.sessions import Sessions
from schemas.codec import Codec
from schemas.config import Config, Provider
from streams.services.call.control import ControlState
from streams.services.call.journal import Journal
from streams.settings import Settings, resolve_secret


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


class NoTarget(Exception):
    """A provider can't be called as it is configured; `error_class` is that of the outcome."""

    def __init__(self, error_class: str, message: str) -> None:
        super().__init__(message)
        self.error_class = error_class


class Targets:
    """Adapters and transports by provider, made once a configuration (which is kept, as its id is the key)."""

    def __init__(self, sessions: Sessions, secret: Callable[[str], str] = resolve_secret) -> None:
        self._sessions, self._secret = sessions, secret
        self._transports: dict[tuple[int, str], tuple[Config, Transport]] = {}

    def of(self, config: Config, provider_id: str) -> tuple[Adapter, Transport]:
        """Raises NoTarget where the provider's secret can't be had, or its URL is none."""
        provider = config.providers[provider_id]
        known = self._transports.get((id(config), provider_id))
        if known is None:
            known = config, self._transport(provider_id, provider)
            self._transports[id(config), provider_id] = known
        return adapter_of(provider), known[1]

    def _transport(self, provider_id: str, provider: Provider) -> Transport:
        try:
            api_key = self._secret(provider.api_key) if provider.api_key else None
        except ValueError as error:
            raise NoTarget("auth", f"providers.{provider_id}.api_key: {error}") from error
        try:
            return transport_of(provider, self._sessions, api_key)
        except ValueError as error:
            raise NoTarget("connection", f"providers.{provider_id}.{error}") from error


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
    worker: str
    fatal: Callable[[BaseException], None]
    limits: Backend = field(default_factory=MemoryBackend)
    jitter: Callable[[], float] = random.random
