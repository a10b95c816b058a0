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
    """Delays grow from `first` to `most` seconds while calls fail, and start anew after one that didn't."""

    def __init__(
        self, metrics: Metrics, *, first: float = 0.1, most: float = 5.0, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._metrics = metrics
        self._first = first
        self._most = most
        self.sleep = sleep
        self._failures = 0

    async def wait(self, error: StoreError, what: str) -> None:
        """Wait before the next try of `what`, which failed with `error`."""
        self._failures += 1
        self._metrics.retried(what)
        self._metrics.paused(True)
        if self._failures & (self._failures - 1) == 0:  # the 1st, 2nd, 4th, 8th ... of a row
            log.warning("%s: %s (failure %d, trying again)", what, error, self._failures)
        delay = min(self._most, self._first * 2 ** min(self._failures - 1, 16))
        await self.sleep(delay * random.uniform(0.5, 1.0))

    def over(self) -> None:
        """A call succeeded."""
        if self._failures:
            log.info("the store answers again after %d failures", self._failures)
            self._failures = 0
            self._metrics.paused(False)

    async def persist(self, call: Callable[[], Awaitable[T]], what: str) -> T:
        """The result of `call`, tried until it doesn't raise Unavailable."""
        while True:
            try:
                result = await call()
            except Unavailable as error:
                await self.wait(error, what)
            else:
                self.over()
                return result
