"""Dead letters of the sink: a record that can't become a row keeps its original bytes, and the reason."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

import msgspec

from schemas import ids
from schemas.letters import keep
from schemas.records import DeadLetter
from schemas.registry import UnknownSchemaId
from schemas.signals import Invalid
from sinks.config_record import ConfigRecord
from sinks.rows import MOST_DAYS, KafkaRecord

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
Days = Callable[[DeadLetter], Awaitable[int | None]]


class KafkaDeadLetters:
    """Publishes on the topic of dead letters; `send` sends a key and a value and returns when acknowledged, `days`
    says how long the letter's original is kept."""

    def __init__(self, send: Send, encode: Callable[[DeadLetter], bytes], days: Days) -> None:
        self._send = send
        self._encode = encode
        self._days = days

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        for each in letters:
            kept = msgspec.structs.replace(each, retention_days=await self._days(each))
            await self._send(each.id.encode(), self._encode(kept))


def days_told(letter: DeadLetter, event: type[msgspec.Struct], decode: Callable[..., Any]) -> int | None:
    """How long the original of a letter is kept by its own word; None where it can't be read or doesn't say.

    `decode` is the codec's, `event` what the original's topic carries.
    """
    if event is ConfigRecord:
        return None
    try:
        found: int | None = getattr(decode(letter.value, event), "retention_days", None)
    except (Invalid, UnknownSchemaId):
        return None
    return found if found is not None and 0 <= found <= MOST_DAYS else None
