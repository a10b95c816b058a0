"""A partition's Kafka in memory, with faults: what the outbox's model test may fake."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Literal

from streams.outbox.contract import Fenced, Inbound, Outbound, Transient

Fault = Literal["ok", "lost", "lost_after_apply", "fenced"]


class Log:
    """What the broker keeps across openings: the input, the committed outputs, changelog and offset."""

    def __init__(self, records: Sequence[Inbound], faults: Iterator[Fault]) -> None:
        self.records = list(records)
        self.faults = faults
        self.outputs: list[Outbound] = []
        self.changelog: list[tuple[bytes, bytes | None]] = []
        self.offset = 0
        self.epoch = 0
        self.transactions = 0


class MemoryBroker:
    """A `PartitionBroker` over a log. Each opening fences the one before."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._epoch = 0

    async def open(self) -> None:
        self._log.epoch += 1
        self._epoch = self._log.epoch

    async def changelog(self) -> AsyncIterator[tuple[bytes, bytes | None]]:
        for record in list(self._log.changelog):
            yield record

    async def committed(self) -> int:
        return self._log.offset

    async def end_offset(self) -> int:
        return self._log.records[-1].offset + 1 if self._log.records else 0

    async def read(self, start: int, stop: int) -> list[Inbound]:
        return [r for r in self._log.records if start <= r.offset < stop]

    async def write(
        self, outputs: Sequence[Outbound], changes: Sequence[tuple[bytes, bytes | None]], offset: int | None
    ) -> None:
        await asyncio.sleep(0)
        if self._epoch != self._log.epoch:
            raise Fenced("a newer producer was started")
        fault = next(self._log.faults, "ok")
        if fault in ("ok", "lost_after_apply"):
            self._log.transactions += 1
            self._log.outputs += outputs
            self._log.changelog += changes
            self._log.offset = self._log.offset if offset is None else offset
        if fault == "fenced":
            self._log.epoch += 1
            raise Fenced("a newer producer was started")
        if fault != "ok":
            raise Transient("the broker went away")

    async def close(self) -> None:
        return None
