"""Keeps what the sink writes in line with erasures and legal holds, whoever ordered them and whatever died meanwhile.

The mapper obeys what it knows; that is read anew every half minute. What came in between, and what an order that was
broken off has left, a look at the rows finds: at all of them first and every few hours, else at those inserted since a
while before the last look, for the orders given since then. So a look costs little, however many orders stand.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from sinks.clickhouse import ClickHouse
from sinks.erasure import Erasures, Kept, OnCluster
from sinks.store import StoreError
from streams import metrics

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 30.0
_FULL_EVERY_MS: Final = 6 * 3_600_000
_OVERLAP_MS: Final = 600_000
"""So long before the last look a row may have been inserted that it didn't see: a lease lasts a minute."""


class ErasureWatch:
    """Looks again and again until it is cancelled. `kept` is the mapper's."""

    def __init__(
        self,
        clickhouse: ClickHouse,
        kept: Kept,
        every_s: float = LOOK_EVERY_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._erasures = Erasures(clickhouse)
        self._kept = kept
        self._every_s = every_s
        self._sleep = sleep
        self._since = self._full_at = 0

    async def run(self) -> None:
        """Look, and look again. Raises what nobody expects."""
        while True:
            try:
                await self.look()
                metrics.ERASURE_LOOKED.set_to_current_time()
            except StoreError as error:
                log.warning("erasures and legal holds wait for ClickHouse: %s", error)
            except OnCluster as error:
                log.warning("rows are emptied and held as they arrive, and no others: %s", error)
            await self._sleep(self._every_s)

    async def look(self) -> int:
        """Take in what stands now, and bring the rows into line with it; returns how many were changed."""
        await self._kept.refresh()
        await self._erasures.check()
        began = await self._erasures.now()
        if began - self._full_at >= _FULL_EVERY_MS:
            self._since, self._full_at = 0, began
        changed = await self._erasures.apply(self._since)
        self._since = began - _OVERLAP_MS
        if changed:
            log.warning("%d rows came under an erasure or a legal hold, or out of one", changed)
            metrics.ERASURE_ROWS.inc(changed)
        return changed
