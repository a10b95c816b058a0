"""Dead letters of the sink: a record that can't become a row keeps its original bytes, and the reason."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from schemas import ids
from schemas.letters import keep
from schemas.records import DeadLetter
from sinks.rows import KafkaRecord

STAGE: Final = "sink"
_KINDS: Final = {"undecodable": "undecodable", "unknown_schema": "unknown_schema", "null_value": "null_value"}


def letter(record: KafkaRecord, reason: str, message: str) -> DeadLetter:
    """The dead letter of `record`. The same record gives the same letter, whenever it is made."""
    kept = keep(record.key, record.value, record.headers, message)
    stamp = max(record.timestamp, 0)
    return DeadLetter(
        id=ids.dead_letter_id(record.topic, record.partition, record.offset),
        kind=_KINDS.get(reason, "poison"),
        stage=STAGE,
        reason=reason,
        message=kept.message,
        at=stamp,
        source_topic=record.topic,
        source_partition=record.partition,
        source_offset=record.offset,
        source_timestamp=stamp,
        key=kept.key,
        value=kept.value,
        headers=kept.headers,
    )


class DeadLetters(Protocol):
    """Where dead letters go."""

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        """Return when all of `letters` are durable. A letter may be published again: its id tells."""


Send = Callable[[bytes, bytes], Awaitable[object]]


class KafkaDeadLetters:
    """Publishes on the topic of dead letters; `send` sends a key and a value and returns when acknowledged."""

    def __init__(self, send: Send, encode: Callable[[DeadLetter], bytes]) -> None:
        self._send = send
        self._encode = encode

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        for each in letters:
            await self._send(each.id.encode(), self._encode(each))
