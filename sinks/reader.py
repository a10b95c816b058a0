"""Reads ranges again: a consumer without a group, which disturbs nobody's."""

import asyncio
import logging
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError

from sinks.connect import connect_again
from sinks.landing import Reread
from sinks.ledger import Range
from sinks.metrics import Metrics

log = logging.getLogger(__name__)

_POLL_MS: Final = 200
_STALLED_S: Final = 120.0
_FAR: Final = 5_000
"""Ranges of a partition that lie further apart are read one by one; nearer ones with what is between them."""

_Asked = Mapping[TopicPartition, Sequence[Range]]


class ReadStalled(RuntimeError):
    """A range's records don't come, though Kafka answers."""


class TopicRecreated(RuntimeError):
    """What has been read of a topic lies behind its end: it was made anew, or its broker lost records."""

    def __init__(self, tp: TopicPartition, end: int, position: int) -> None:
        super().__init__(
            f"{tp.topic}-{tp.partition} ends at {end}, but was read up to {position}: "
            "the topic was made anew, or its broker lost records"
        )


class RangeReader:
    """Implements `sinks.landing.Source`. Starts a consumer for each call: ranges are read again seldom."""

    def __init__(self, brokers: str, metrics: Metrics, connect: Callable[[str], Any] = connect_again) -> None:
        self._brokers = brokers
        self._metrics = metrics
        self._connect = connect

    async def read(self, ranges: Iterable[Range]) -> Reread:
        """See `Source`. Raises TopicRecreated, and ReadStalled when nothing comes for two minutes."""
        asked: dict[TopicPartition, list[Range]] = {}
        for r in sorted(ranges):
            asked.setdefault(TopicPartition(*r.at), []).append(r)
        consumer = self._connect(self._brokers)
        await consumer.start()
        try:
            passes = [_Pass(consumer, spans, asked) for spans in _passes(asked)]
            for each in passes:
                await each.run()
        finally:
            await consumer.stop()
        for gap in (gaps := [gap for each in passes for gap in each.gaps]):
            log.error("%s-%d: Kafka deleted [%d, %d) of an open intent", *gap.at, gap.start, gap.end)
            self._metrics.gap(gap.topic, gap.end - gap.start)
        found = {tp: [r for each in passes for r in each.found.get(tp, ())] for tp in asked}
        return Reread([record for tp in asked for record in found[tp]], tuple(gaps))


def _passes(asked: _Asked) -> Iterator[dict[TopicPartition, Range]]:
    """What to read in one go: of each partition a span that holds one or more of the ranges asked for."""
    spans: dict[TopicPartition, list[Range]] = {}
    for tp, ranges in asked.items():
        for r in ranges:
            mine = spans.setdefault(tp, [])
            if mine and r.start - mine[-1].end <= _FAR:
                mine[-1] = Range(*r.at, mine[-1].start, max(mine[-1].end, r.end))
            else:
                mine.append(r)
    for n in range(max(map(len, spans.values()), default=0)):
        yield {tp: mine[n] for tp, mine in spans.items() if n < len(mine)}


class _Pass:
    """Reads one span a partition, and keeps of it what was asked for."""

    def __init__(self, consumer: Any, spans: Mapping[TopicPartition, Range], asked: _Asked) -> None:
        self._consumer = consumer
        self._spans = spans
        self._asked = asked
        self._pending: set[TopicPartition] = set()
        self.found: dict[TopicPartition, list[Any]] = {tp: [] for tp in spans}
        self.gaps: list[Range] = []

    async def run(self) -> None:
        await self._seek({tp: span.start for tp, span in self._spans.items()})
        loop = asyncio.get_running_loop()
        moved = loop.time()
        while self._pending:
            batches = await self._poll()
            for tp, records in batches.items():
                self.found[tp] += [r for r in records if self._wants(tp, r.offset)]
            for tp in list(self._pending):
                if await self._consumer.position(tp) >= self._spans[tp].end:
                    self._pending.discard(tp)
                    self._consumer.pause(tp)
                    moved = loop.time()
            if batches:
                moved = loop.time()
            elif loop.time() - moved > _STALLED_S:
                waiting = [self._spans[tp] for tp in self._pending]
                raise ReadStalled(f"no records of {waiting} for {_STALLED_S:.0f} s")

    async def _poll(self) -> dict[TopicPartition, Sequence[Any]]:
        try:
            found: dict[TopicPartition, Sequence[Any]] = await self._consumer.getmany(
                *self._pending, timeout_ms=_POLL_MS
            )
        except NoOffsetForPartitionError:
            return {}  # said before a position was set
        except OffsetOutOfRangeError:
            await self._seek({tp: await self._consumer.position(tp) for tp in self._pending})
            return {}
        return found

    async def _seek(self, positions: Mapping[TopicPartition, int]) -> None:
        """Go on from `positions`, or from where Kafka's records begin by now: what lies between is a gap."""
        first = await self._consumer.beginning_offsets(list(positions))
        ends = await self._consumer.end_offsets(list(positions))
        for tp, span in self._spans.items():
            if tp in positions and ends[tp] < span.end:
                raise TopicRecreated(tp, ends[tp], span.end)
        self._pending = {tp for tp in positions if first[tp] < self._spans[tp].end}
        for tp, position in positions.items():
            self.gaps += self._lost(tp, position, min(first[tp], self._spans[tp].end))
        self._consumer.assign(list(self._pending))
        for tp in self._pending:
            self._consumer.seek(tp, max(first[tp], positions[tp]))

    def _lost(self, tp: TopicPartition, start: int, end: int) -> Iterator[Range]:
        """What was asked for of [start, end)."""
        for r in self._asked[tp]:
            if max(r.start, start) < min(r.end, end):
                yield Range(*r.at, max(r.start, start), min(r.end, end))

    def _wants(self, tp: TopicPartition, offset: int) -> bool:
        if not self._spans[tp].start <= offset < self._spans[tp].end:
            return False
        ranges = self._asked[tp]
        at = bisect_right(ranges, offset, key=lambda r: r.start) - 1
        return at >= 0 and offset < ranges[at].end
