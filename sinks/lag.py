"""Tells how much of each topic waits to land."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from sinks.ledger import Partition
from sinks.metrics import Metrics

log = logging.getLogger(__name__)

_ASK_EVERY_S: Final = 5.0


class Lag:
    """What lies between what has landed and the ends: those that fetches bring, else those that are asked for.

    `consumer` is the worker's own, `clock` gives seconds.
    """

    def __init__(
        self, consumer: Any, topics: Collection[str], metrics: Metrics, clock: Callable[[], float]
    ) -> None:
        self._consumer = consumer
        self._topics = topics
        self._metrics = metrics
        self._clock = clock
        self._landed: dict[Partition, int] = {}
        self._asked = float("-inf")

    def landed(self, positions: Mapping[Partition, int]) -> None:
        """All before `positions` is in."""
        self._landed.update(positions)

    def tell(self, ends: Mapping[TopicPartition, int | None]) -> None:
        """Tell the lag of each topic, 0 where no end is known."""
        lags: dict[str, int] = dict.fromkeys(self._topics, 0)
        for tp, end in ends.items():
            landed = self._landed.get((tp.topic, tp.partition))
            if end is not None and landed is not None:
                lags[tp.topic] += max(0, end - landed)
        for topic, positions in lags.items():
            self._metrics.lag(topic, positions)

    async def ask(self, partitions: Iterable[Partition]) -> None:
        """Tell the lag while nothing is read, every five seconds at most: the last fetches' ends stand still then."""
        if self._clock() - self._asked < _ASK_EVERY_S:
            return
        self._asked = self._clock()
        try:
            self.tell(await self._consumer.end_offsets([TopicPartition(*at) for at in partitions]))
        except KafkaError as error:  # it only tells; reading will meet what is wrong
            log.info("the lag isn't known: %s", error)
