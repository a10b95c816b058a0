"""Tells how things stand with the relay's partitions, also while the relay itself waits for something."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NoReturn

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.services.relay_contract import Observer
from streams.services.stability import Stability

log = logging.getLogger(__name__)

_EVERY_S: Final = 0.5
Passed = Callable[[], Mapping[TopicPartition, int]]


class Watch:
    """Reports lag and hanging transactions. `passed` says how far each open partition has come."""

    def __init__(self, observer: Observer, passed: Passed) -> None:
        self._observer, self._passed = observer, passed
        self._stability = Stability()

    async def run(self, consumer: AIOKafkaConsumer) -> NoReturn:
        """Look again and again, until it is cancelled."""
        while True:
            self.look(consumer)
            try:
                await self.measure(consumer)
            except KafkaError as error:
                log.warning("the relay's lag can't be measured now: %s", error)
            await asyncio.sleep(_EVERY_S)

    def look(self, consumer: AIOKafkaConsumer) -> None:
        """Report for how long an open transaction has hidden results."""
        for tp in consumer.assignment():
            stable, end = consumer.last_stable_offset(tp), consumer.highwater(tp)
            self._observer.hanging(tp.partition, self._stability.hanging_s(tp, stable, end, time.monotonic()))

    async def measure(self, consumer: AIOKafkaConsumer) -> None:
        """Report the positions that could be copied now: the broker is asked, as aiokafka fetches only a little
        ahead of us."""
        if not (open_ones := list(self._passed())):
            return
        ends = await consumer.end_offsets(open_ones)
        for tp, passed in self._passed().items():
            if tp in ends:
                self._observer.lag(tp.partition, max(0, ends[tp] - passed))

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """These were taken away: somebody else reports on them."""
        self._stability.forget()
        for tp in partitions:
            self._observer.hanging(tp.partition, 0)
            self._observer.lag(tp.partition, 0)
