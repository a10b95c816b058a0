"""The call service: a runner for each model of the active configuration."""

import asyncio
import gc
import logging
import os
import resource
import secrets
import socket
from typing import Any

from processors.clock import Clock, SystemClock
from processors.limits.backend import MemoryBackend
from processors.providers.content import Fetcher
from processors.providers.sessions import Sessions
from schemas.codec import Codec
from schemas.config import Config
from streams import metrics
from streams.services.call.control import ControlReader, ControlState
from streams.services.call.deltas import Deltas
from streams.services.call.deps import CallDeps, ConfigSource
from streams.services.call.drain import drain, drain_all
from streams.services.call.journal import Journal, make_producer
from streams.services.call.runner import ModelRunner
from streams.services.call.targets import Targets
from streams.services.call.token_counter import TokenCounter
from streams.settings import Settings

_MOST_FILES = 65_536
_log = logging.getLogger(__name__)


def worker_id(settings: Settings) -> str:
    """Names this process and no other, before or after: the journal tells workers apart by it."""
    return f"{settings.worker_name or socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def spare_the_collector() -> None:
    """Look for garbage cycles less often: thousands of running calls are live objects, looked at in vain.

    What was loaded so far stays for good and is never looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def allow_connections() -> None:
    """Raise this process's bound on open files as far as it may: each running call holds a connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class CallService:
    """Runs every model of the active configuration and follows its changes."""

    def __init__(
        self, settings: Settings, codec: Codec, configs: ConfigSource, clock: Clock | None = None
    ) -> None:
        self._settings, self._codec, self._configs = settings, codec, configs
        self._clock = clock or SystemClock()
        self._runners: dict[str, ModelRunner] = {}
        self._drains: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._deps: CallDeps

    def ready(self) -> bool:
        """True once every model's runner has joined its group and opened what it was given."""
        return bool(self._runners) and all(runner.ready for runner in self._runners.values())

    def fatal(self, error: BaseException) -> None:
        """End the service with an error that no part can handle."""
        if not self._failed.done():
            self._failed.set_exception(error)

    async def run(self, stop: asyncio.Event) -> None:
        """Call models until `stop` is set, then drain. Raises the first unexpected error at once."""
        allow_connections()
        spare_the_collector()
        journal = Journal(make_producer(self._settings.brokers), self._codec)
        state = ControlState(lambda name: self._configs.active()[1].resolve(name) or name)
        control = ControlReader(self._settings.brokers, self._codec, state)
        async with Sessions.make() as sessions:
            await journal.start()
            await control.start()
            limits = MemoryBackend()
            self._deps = deps = CallDeps(
                self._settings, self._clock, self._codec, self._configs, journal, state,
                Targets(sessions, limits), Fetcher(fetched_bytes=metrics.CALL_CONTENT_BYTES.inc),
                Deltas(self._settings.brokers, self._codec, self._clock.now_ms),
                worker_id(self._settings), self.fatal, limits, count_tokens=TokenCounter(),
            )  # fmt: skip
            reading = asyncio.create_task(control.run())
            reading.add_done_callback(self._ended)
            self._configs.add_listener(lambda _version, _config: self._changed.set())
            await self._until(stop)
            _log.info("draining %d models", len(self._runners))
            await drain_all(list(self._runners.values()), self._settings.drain_timeout_s)
            await asyncio.gather(*self._drains)
            reading.cancel()
            await control.stop()
            await journal.stop()
            await deps.deltas.stop()
            await deps.fetcher.close()

    async def _until(self, stop: asyncio.Event) -> None:
        stopping = asyncio.create_task(stop.wait())
        while not stop.is_set():
            self._changed.clear()
            await self._follow(self._configs.active()[1])
            changing = asyncio.create_task(self._changed.wait())
            waits: list[asyncio.Future[Any]] = [stopping, changing, self._failed]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            changing.cancel()
            if self._failed.done():
                stopping.cancel()
                self._failed.result()

    async def _follow(self, config: Config) -> None:
        """Start, update and stop runners so that they match the configuration."""
        self._deps.targets.obey(config)
        for model_id in [m for m in self._runners if m not in config.models]:
            # Not one of the runner's own tasks: a drain waits until those have ended.
            gone = drain(self._runners.pop(model_id), self._settings.drain_timeout_s)
            self._drains.add(task := asyncio.create_task(gone))
            task.add_done_callback(self._drains.discard)
            task.add_done_callback(self._ended)
        for model_id, model in config.models.items():
            runner = self._runners.get(model_id)
            if runner is None:
                self._runners[model_id] = runner = ModelRunner(model_id, model, self._deps)
                await runner.start()
            else:
                runner.update(model)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fatal(error)
