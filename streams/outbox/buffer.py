"""The records a partition's writer still has to process, in order, with their size in bytes."""

import asyncio
from collections import deque

from streams.outbox.contract import Inbound


class Buffer:
    """A queue of one partition. It never refuses a record; `full` asks the feeder to pause the partition."""

    def __init__(self, high_records: int = 2000, high_bytes: int = 8 << 20) -> None:
        self._records: deque[Inbound] = deque()
        self._bytes = 0
        self._high_records, self._high_bytes = high_records, high_bytes
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._records)

    @property
    def full(self) -> bool:
        """True while the feeder should pause."""
        return len(self._records) >= self._high_records or self._bytes >= self._high_bytes

    @property
    def low(self) -> bool:
        """True when the feeder may resume."""
        return len(self._records) <= self._high_records // 4 and self._bytes <= self._high_bytes // 4

    def put(self, inbound: Inbound) -> None:
        """Append a record."""
        self._records.append(inbound)
        self._bytes += inbound.size
        self._filled.set()

    def put_back(self, batch: list[Inbound]) -> None:
        """Return records that were taken, to the front."""
        self._records.extendleft(reversed(batch))
        self._bytes += sum(r.size for r in batch)
        if self._records:
            self._filled.set()

    def take(self, most_records: int, most_bytes: int) -> list[Inbound]:
        """Take the first records within both bounds; a first record over the bytes is taken alone."""
        batch: list[Inbound] = []
        size = 0
        while self._records and len(batch) < most_records:
            following = self._records[0].size
            if batch and size + following > most_bytes:
                break
            batch.append(self._records.popleft())
            size += following
        self._bytes -= size
        if not self._records:
            self._filled.clear()
        return batch

    def wake(self) -> None:
        """Let a `wait` return though no record came."""
        self._filled.set()

    async def wait(self, seconds: float | None) -> None:
        """Return when a record is there or after `seconds`."""
        try:
            await asyncio.wait_for(self._filled.wait(), seconds)
        except TimeoutError:
            return
