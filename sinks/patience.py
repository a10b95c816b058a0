"""Waiting for a store that is away: for ever, with a growing, jittered delay. The sink pauses and drops nothing."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sinks.metrics import Metrics
from sinks.store import StoreError, Unavailable

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]

log = logging.getLogger(__name__)


class Patience:
    """Delays grow from `first` to `most` seconds while one operation fails, and start anew after it didn't.

    Each operation has its own: the ledger may be readable while inserts fail.
    """

    def __init__(
        self, metrics: Metrics, *, first: float = 0.1, most: float = 5.0, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._metrics = metrics
        self._first = first
        self._most = most
        self.sleep = sleep
        self._failures: dict[str, int] = {}

    async def wait(self, error: StoreError, what: str) -> None:
        """Wait before the next try of `what`, which failed with `error`. Whoever gives up trying says `over`."""
        failures = self._failures[what] = self._failures.get(what, 0) + 1
        self._metrics.retried(what)
        self._metrics.paused(True)
        self._metrics.failing(what, error.code, failures)
        if failures & (failures - 1) == 0:  # the 1st, 2nd, 4th, 8th ... of a row
            log.warning("%s: %s (failure %d, trying again)", what, error, failures)
        delay = min(self._most, self._first * 2 ** min(failures - 1, 16))
        await self.sleep(delay * random.uniform(0.5, 1.0))

    def over(self, what: str) -> None:
        """`what` succeeded, or isn't tried any more."""
        failures = self._failures.pop(what, 0)
        if failures:
            log.info("%s: over after %d failures", what, failures)
            self._metrics.paused(bool(self._failures))
            self._metrics.failing(what, None, 0)

    async def persist(self, call: Callable[[], Awaitable[T]], what: str) -> T:
        """The result of `call`, tried until it doesn't raise Unavailable."""
        try:
            while True:
                try:
                    return await call()
                except Unavailable as error:
                    await self.wait(error, what)
        finally:
            self.over(what)
