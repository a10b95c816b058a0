"""Where the relay goes on in a partition: at its committed offset, or loudly elsewhere."""

import logging

from aiokafka import AIOKafkaConsumer

from streams.services.relay_contract import Observer
from streams.services.relay_partition import Partition

log = logging.getLogger(__name__)


class TopicRecreated(RuntimeError):
    """The group's position lies behind the end of the topic: the topic isn't the one that was read."""


async def starting_point(consumer: AIOKafkaConsumer, partition: Partition, observer: Observer) -> int:
    """The offset at which an opened partition goes on. Raises TopicRecreated.

    committed                       goes on at       told
    between beginning and end       committed        nothing
    before the beginning            the beginning    an error and the gap: Kafka deleted results unread
    behind the end                  nowhere          TopicRecreated: either end would repeat or skip results
    none, never opened before       the beginning    a warning: the first start
    none, and opened before         the beginning    an error: the position is lost, copies may repeat
    """
    tp = partition.source
    name = f"{tp.topic}-{tp.partition}"
    first = int((await consumer.beginning_offsets([tp]))[tp])
    end = int((await consumer.end_offsets([tp]))[tp])
    committed = partition.committed
    if committed is None:
        if partition.opened_before and end > first:
            log.error("%s: its position was deleted; %d results may be copied again", name, end - first)
            observer.forgotten(tp.partition)
        else:
            log.warning("%s: no position yet, so it starts at the beginning (%d)", name, first)
        return first
    if committed < first:
        log.error("%s: Kafka deleted [%d, %d) before it was copied", name, committed, first)
        observer.gap(tp.partition, first - committed)
        return first
    if committed > end:
        raise TopicRecreated(
            f"{name} ends at {end}, but the group has read it up to {committed}: the topic was made anew or cut "
            "short. See SluiceRelayGap in docs/runbook.md"
        )
    return committed
