"""How many tasks of a model's partitions have no durable end yet: what Kafka holds unread, and what was read."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from streams import metrics
from streams.services.call.item import Owned

_EVERY_S: Final = 5.0
_log = logging.getLogger(__name__)


class Lag:
    """Keeps the gauge of the topics that this worker owns.

    The ends are asked for: those that fetches bring stand still while a full queue fetches nothing, which is when
    the lag matters.
    """

    def __init__(
        self,
        model_id: str,
        consumer: AIOKafkaConsumer,
        owned: Callable[[], Mapping[TopicPartition, Owned]],
    ) -> None:
        self._model_id, self._consumer, self._owned = model_id, consumer, owned
        self._told: set[str] = set()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(_EVERY_S)
            await self.now()

    async def now(self) -> None:
        """Look once; without a broker what was told stays."""
        owned = [each for each in self._owned().values() if each.mark is not None]
        try:
            ends = await self._consumer.end_offsets([each.tp for each in owned]) if owned else {}
            lags: Counter[str] = Counter()
            for each in owned:
                if each.alive and each.mark is not None:
                    unread = ends[each.tp] - await self._consumer.position(each.tp)
                    lags[each.tp.topic] += max(0, unread) + each.mark.unfinished
        except (KafkaError, IllegalStateError) as error:
            _log.info("%s: lag not known (%r)", self._model_id, error)
            return
        for topic in self._told - lags.keys():
            metrics.CALL_LAG.remove(topic)
        for topic, records in lags.items():
            metrics.CALL_LAG.labels(topic).set(records)
        self._told = set(lags)

    def forget(self) -> None:
        """Nothing is owned any more: another worker tells."""
        for topic in self._told:
            metrics.CALL_LAG.remove(topic)
        self._told = set()
