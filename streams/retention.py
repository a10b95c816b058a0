"""How long the original of a dead letter is kept whose maker follows no configuration and can't read the record."""

import math
import time

from aiokafka import AIOKafkaConsumer

from schemas.names import CONFIG
from streams.config_watch import ConfigWatcher, NoConfiguration

_PATIENCE_S = 10
_HOLDS_S = 60


class DaysOfUnread:
    """What the active configuration says of records without a class; None where none is active.

    Reads the configuration's topic, at most once a minute: it is asked for letters, which are few.
    """

    def __init__(self, brokers: str) -> None:
        self._brokers = brokers
        self._days: int | None = None
        self._read_at = -math.inf

    async def __call__(self) -> int | None:
        if time.monotonic() - self._read_at > _HOLDS_S:
            self._days = await self._read()
            self._read_at = time.monotonic()
        return self._days

    async def _read(self) -> int | None:
        if not await self._configured():
            return None
        watcher = ConfigWatcher(self._brokers, crash=lambda error: None)
        try:
            await watcher.start(_PATIENCE_S)
        except NoConfiguration:
            return None
        try:
            return watcher.active()[1].retention.of_dead_letters(())
        finally:
            await watcher.stop()

    async def _configured(self) -> bool:
        reader = AIOKafkaConsumer(bootstrap_servers=self._brokers)
        await reader.start()
        try:
            return CONFIG in await reader.topics()
        finally:
            await reader.stop()
