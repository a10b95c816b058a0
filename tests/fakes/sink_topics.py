"""Topics in memory behind the parts of aiokafka's consumer that the sink uses; Kafka may delete meanwhile."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError


class Record(NamedTuple):
    topic: str
    partition: int
    offset: int
    timestamp: int = 1
    key: bytes | None = None
    value: bytes | None = b"v"
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass
class Topics:
    """Every position up to a partition's end holds a record, but those of `holes`. `before_poll` may delete some."""

    ends: dict[TopicPartition, int]
    firsts: dict[TopicPartition, int] = field(default_factory=dict)
    holes: frozenset[int] = frozenset()
    before_poll: Callable[[], None] = lambda: None
    polled: int = 0
    value: bytes = b"v"


class Consumer:
    """A consumer without a group; a poll gives up to five positions of a partition."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._positions: dict[TopicPartition, int] = {}

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        self._positions = dict.fromkeys(partitions, -1)

    def seek(self, tp: TopicPartition, position: int) -> None:
        assert tp in self._positions
        self._positions[tp] = position

    def pause(self, *partitions: TopicPartition) -> None: ...

    def resume(self, *partitions: TopicPartition) -> None: ...

    async def position(self, tp: TopicPartition) -> int:
        return self._positions[tp]

    async def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self._topics.firsts.get(tp, 0) for tp in partitions}

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self._topics.ends[tp] for tp in partitions}

    async def getmany(
        self, *partitions: TopicPartition, timeout_ms: int, max_records: int | None = None
    ) -> dict[TopicPartition, Sequence[Record]]:
        await asyncio.sleep(0)
        self._topics.before_poll()
        found: dict[TopicPartition, Sequence[Record]] = {}
        for tp in partitions:
            start = self._positions[tp]
            if not self._topics.firsts.get(tp, 0) <= start <= self._topics.ends[tp]:
                if found:
                    return found  # aiokafka, too, says it at the next call
                raise OffsetOutOfRangeError({tp: start})
            stop = self._positions[tp] = min(start + 5, self._topics.ends[tp])
            self._topics.polled += stop - start
            offsets = [n for n in range(start, stop) if n not in self._topics.holes]
            if offsets:
                found[tp] = [Record(tp.topic, tp.partition, n, value=self._topics.value) for n in offsets]
        return found


class Member(Consumer):
    """The only consumer of its group: it is given all partitions."""

    def subscribe(self, topics: Iterable[str], listener: ConsumerRebalanceListener) -> None:
        self._listener = listener

    async def start(self) -> None:
        self.assign(self._topics.ends)
        await self._listener.on_partitions_assigned(set(self._topics.ends))

    def last_stable_offset(self, tp: TopicPartition) -> int:
        return self._topics.ends[tp]

    async def commit(self, positions: dict[TopicPartition, int]) -> None: ...
