"""The configuration as workers see it: every version on `llm.config`, and which of them is active."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pydantic import ValidationError

from schemas.config import Config
from schemas.names import CONFIG
from streams import consumer_stop  # noqa: F401  (stops quietly)

log = logging.getLogger(__name__)
_ACTIVE = b"active"
Listener = Callable[[str, Config], None]


class Unreadable(Exception):
    """A version on `llm.config` that this worker can't read; one that can must take its place."""


class NoConfiguration(Exception):
    """`llm.config` holds no active configuration; `sluice config apply` puts one there."""


class ConfigWatcher:
    """Follows `llm.config`. A version that doesn't parse is logged and passed over: it never replaces a right one."""

    def __init__(self, brokers: str, crash: Callable[[BaseException], None]) -> None:
        self._brokers, self._crash = brokers, crash
        self._versions: dict[str, Config] = {}
        self._unreadable: set[str] = set()
        self._active: str | None = None
        self._wanted: str | None = None
        self._listeners: list[Listener] = []
        self._reader: AIOKafkaConsumer
        self._part = TopicPartition(CONFIG, 0)
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()

    async def start(self, wait_s: float = 60) -> None:
        """Read the topic to its end, then follow it. Raises NoConfiguration if none is active within `wait_s`."""
        self._reader = AIOKafkaConsumer(bootstrap_servers=self._brokers, isolation_level="read_committed")
        await self._reader.start()
        self._reader.assign([self._part])
        await self._reader.seek_to_beginning(self._part)
        self._task = asyncio.create_task(self._follow(), name="config-watch")
        self._task.add_done_callback(self._ended)
        end = (await self._reader.end_offsets([self._part]))[self._part]
        async with self._changed:
            try:
                started = self._changed.wait_for(lambda: self._active is not None and self._position >= end)
                await asyncio.wait_for(started, wait_s)
            except TimeoutError:
                await self.stop()
                raise NoConfiguration(
                    f"no active configuration on {CONFIG} after {wait_s} s: run `sluice config apply FILE`"
                ) from None

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._crash(error)

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._reader.stop()

    def active(self) -> tuple[str, Config]:
        """The active version and its configuration."""
        assert self._active is not None, "start() returns only with an active configuration"
        return self._active, self._versions[self._active]

    def get(self, version: str) -> Config:
        """The configuration of a version. Raises KeyError where this worker hasn't read it."""
        return self._versions[version]

    async def fetch(self, version: str) -> Config:
        """A version's configuration, after reading to the topic's present end.

        Raises KeyError if it isn't there, Unreadable if it is and doesn't parse here.
        """
        if version in self._versions:
            return self._versions[version]
        end = (await self._reader.end_offsets([self._part]))[self._part]
        async with self._changed:
            await self._changed.wait_for(lambda: self._position >= end or version in self._versions)
        if version in self._unreadable:
            raise Unreadable(f"configuration {version} can't be read by this version of Sluice")
        return self._versions[version]

    def add_listener(self, listener: Listener) -> None:
        """Call `listener` with each version that becomes active from now on."""
        self._listeners.append(listener)

    _position = 0

    async def _follow(self) -> None:
        while True:
            batches = await self._reader.getmany(timeout_ms=500)
            for message in batches.get(self._part, ()):
                self._take(message.key or b"", message.value)
            async with self._changed:
                self._position = await self._reader.position(self._part)
                await self._fall_back()
                self._changed.notify_all()

    def _take(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            return
        if key == _ACTIVE:
            self._wanted = value.decode(errors="replace")
        else:
            try:
                version, config = key.decode(), Config.model_validate_json(value)
                self._versions.pop(version, None)  # the order is that of the topic, the newest last
                self._versions[version] = config
            except (ValidationError, UnicodeDecodeError) as error:
                log.error("a configuration on %s can't be read and is passed over: %s", CONFIG, error)
                self._unreadable.add(key.decode(errors="replace"))
        if self._wanted in self._versions:
            self._activate(self._wanted)

    def _activate(self, version: str) -> None:
        if version != self._active:
            self._active = version
            for listener in self._listeners:
                listener(*self.active())

    async def _fall_back(self) -> None:
        """Where the last pointer points to nothing right and compaction has removed those before it, take the
        newest version that is right: a worker that starts must not fail where one that runs goes on."""
        if self._active is not None or self._wanted is None or not self._versions:
            return
        if self._position >= (await self._reader.end_offsets([self._part]))[self._part]:
            version = list(self._versions)[-1]
            log.error("%s makes %r active, which isn't there: using %s", CONFIG, self._wanted, version)
            self._activate(version)


async def publish(brokers: str, config: Config) -> str:
    """Put a validated configuration on `llm.config` and make it active; returns its version."""
    version = config.content_hash()
    producer = AIOKafkaProducer(bootstrap_servers=brokers, enable_idempotence=True, acks="all")
    await producer.start()
    try:
        # First the content, then the pointer: a reader never sees a pointer to what isn't there.
        await producer.send_and_wait(CONFIG, config.to_json(), key=version.encode())
        await producer.send_and_wait(CONFIG, version.encode(), key=_ACTIVE)
    finally:
        await producer.stop()
    return version
