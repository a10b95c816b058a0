"""The relay's transactions on aiokafka, each bounded in time."""

import asyncio
import contextlib
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import aiokafka.producer.sender as sender
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    BrokerResponseError,
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    kafka_errors,
)
from aiokafka.partitioner import DefaultPartitioner

from streams.crash import crash_point
from streams.services.relay_contract import Copy, RelaySettings

log = logging.getLogger(__name__)

# aiokafka waits this long for the previous transaction's markers; its own 20 ms would cap us at 40 a second.
sender.BACKOFF_OVERRIDE = 0.002


class InvalidRecordError(BrokerResponseError):  # type: ignore[misc]  # aiokafka has no types
    """Kafka's INVALID_RECORD, which aiokafka can't tell from an unknown error of the server."""

    errno = 87
    message = "INVALID_RECORD"
    description = "The topic doesn't take this record: a compacted one takes none without a key, for example."


kafka_errors.setdefault(InvalidRecordError.errno, InvalidRecordError)

# What a topic refuses a record with: trying it again would give the same, for ever.
REFUSALS: Final = (
    InvalidRecordError,
    InvalidTimestampError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)
Refusals = Mapping[int, Exception]
_ABORT_S: Final = 2.0
_CLOSE_S: Final = 5.0


class Producer:
    """One transactional producer, started once: starting it fences whoever had its transactional id before."""

    def __init__(self, settings: RelaySettings, source: TopicPartition) -> None:
        self._settings, self._source = settings, source
        self._place = DefaultPartitioner()
        self._kafka = AIOKafkaProducer(
            bootstrap_servers=settings.brokers,
            transactional_id=f"{settings.group_id}-{source.topic}-{source.partition}",
            transaction_timeout_ms=settings.transaction_timeout_ms,
            max_request_size=settings.max_bytes,
            acks="all",
        )

    @property
    def first_of_its_id(self) -> bool:
        """False where Kafka remembers an earlier producer of the transactional id."""
        return bool(self._kafka._txn_manager.producer_epoch == 0)

    async def start(self) -> None:
        """Fence the previous owner; its open transaction is aborted."""
        await self._kafka.start()

    async def transact(self, copies: Sequence[Copy], offset: int, alone: Collection[str]) -> Refusals:
        """Write the copies and the offset in one transaction.

        Returns the copies (by index) that their topics refused, with the errors; nothing is committed then, and a
        new producer is needed: this one has skipped sequence numbers, and aiokafka may have forgotten partitions
        that are in the transaction. A batch is refused as a whole, so copies for the topics `alone` go into
        batches of their own. Any other failure is raised, after at most `step_s` and the time to abort.
        """
        step_s = self._settings.step_s
        try:
            async with asyncio.timeout(step_s):
                return await self._attempt(copies, offset, alone)
        except TimeoutError as error:
            await self._abort_quietly()
            topics = ", ".join(sorted({c.topic for c in copies})) or "none"
            raise TimeoutError(
                f"a transaction of {self._source.topic}-{self._source.partition} (copies to: {topics}) has not ended "
                f"in {step_s:g} s: the broker doesn't answer, or a reply topic was deleted meanwhile"
            ) from error
        except BaseException:
            # A cancelled writer too leaves no transaction open that would hide others' records.
            await asyncio.shield(self._abort_quietly())
            raise

    async def _attempt(self, copies: Sequence[Copy], offset: int, alone: Collection[str]) -> Refusals:
        await self._kafka.begin_transaction()
        failed = await self._send(copies, alone)
        # Our own topic for dead letters must take what we write.
        refusals = {i: e for i, e in failed.items() if isinstance(e, REFUSALS) and copies[i].refused is None}
        if refusals:
            # Also tells, by raising, when we were fenced: nobody but the rightful owner may go on.
            await self._kafka.abort_transaction()
            return refusals
        for error in failed.values():
            raise error
        crash_point("relay.after_copy")
        await self._kafka.send_offsets_to_transaction({self._source: offset}, self._settings.group_id)
        await self._kafka.commit_transaction()
        return {}

    async def _send(self, copies: Sequence[Copy], alone: Collection[str]) -> dict[int, Exception]:
        """Send all copies; returns the errors of those that were not taken, by index."""
        failed: dict[int, Exception] = {}
        sent: dict[int, asyncio.Future[Any]] = {}
        for index, copy in enumerate(copies):
            try:
                sent[index] = await (self._enqueue_alone if copy.topic in alone else self._enqueue)(copy)
            except Exception as error:  # one refused copy makes aiokafka fail the rest: all are looked at
                failed[index] = error
        if sent:
            await asyncio.wait(sent.values())
        return failed | {i: e for i, f in sent.items() if isinstance(e := f.exception(), Exception)}

    async def _enqueue(self, copy: Copy) -> "asyncio.Future[Any]":
        headers = list(copy.headers)
        sent: asyncio.Future[Any] = await self._kafka.send(
            copy.topic, copy.value, key=copy.key, headers=headers, timestamp_ms=copy.timestamp
        )
        return sent

    async def _enqueue_alone(self, copy: Copy) -> "asyncio.Future[Any]":
        batch = self._kafka.create_batch()
        batch.append(timestamp=copy.timestamp, key=copy.key, value=copy.value, headers=list(copy.headers))
        batch.close()
        partitions = sorted(await self._kafka.partitions_for(copy.topic))
        place = self._place(copy.key, partitions, partitions)
        sent: asyncio.Future[Any] = await self._kafka.send_batch(batch, copy.topic, partition=place)
        return sent

    async def _abort_quietly(self) -> None:
        # A broken transaction ends anyway when the next owner (or this one, reopened) starts its producer.
        with contextlib.suppress(KafkaError, OSError, AssertionError):
            await asyncio.wait_for(self._kafka.abort_transaction(), _ABORT_S)

    async def close(self) -> None:
        """Let go, also where a transaction hangs: the next start of the transactional id aborts it."""
        try:
            await asyncio.wait_for(self._kafka.stop(), _CLOSE_S)
        except TimeoutError:
            # aiokafka's sender asks again without limit, for a deleted topic for example: it has to be told.
            for leftover in (self._kafka._sender.close, self._kafka.client.close):
                with contextlib.suppress(KafkaError, OSError):
                    await asyncio.wait_for(leftover(), _ABORT_S)
        except (KafkaError, OSError) as error:
            log.warning("a producer of %s did not close well: %s", self._source, error)
