"""Dead letters of the sink: a record that can't become a row keeps its original bytes, and the reason."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from schemas import ids, names
from schemas.records import DeadLetter, Header
from sinks.rows import KafkaRecord

STAGE: Final = "sink"
MOST_BYTES: Final = 4 << 20
"""What is kept of a value: a record near its topic's limit of 6 MiB leaves no room for the letter around it."""
MOST_KEY: Final = 64 << 10
MOST_HEADERS: Final = 256 << 10

_KINDS: Final = {"undecodable": "undecodable", "unknown_schema": "unknown_schema", "null_value": "null_value"}


def letter(record: KafkaRecord, reason: str, message: str) -> DeadLetter:
    """The dead letter of `record`. The same record gives the same letter, whenever it is made."""
    key, value, headers, cut = _kept(record)
    if cut:
        message += f" (kept: {', '.join(cut.values())}; the original lies at its offset)"
        headers.append(Header(key=names.LETTER_TRUNCATED, value=",".join(cut).encode()))
    stamp = max(record.timestamp, 0)
    return DeadLetter(
        id=ids.dead_letter_id(record.topic, record.partition, record.offset),
        kind=_KINDS.get(reason, "poison"),
        stage=STAGE,
        reason=reason,
        message=message[:MOST_HEADERS],
        at=stamp,
        source_topic=record.topic,
        source_partition=record.partition,
        source_offset=record.offset,
        source_timestamp=stamp,
        key=key,
        value=value,
        headers=headers,
    )


def _kept(record: KafkaRecord) -> tuple[bytes | None, bytes | None, list[Header], dict[str, str]]:
    """Key, value and headers as far as a letter can hold them, and what is said of those that were cut.

    As the other stages' letters have it (`streams.dead_letters`, which can't be imported here).
    """
    key, value = record.key, record.value
    headers = [Header(key=k, value=v) for k, v in record.headers]
    cut: dict[str, str] = {}
    if value is not None and len(value) > MOST_BYTES:
        cut["value"] = f"the first {MOST_BYTES} of {len(value)} bytes of its value"
        value = value[:MOST_BYTES]
    if key is not None and len(key) > MOST_KEY:
        cut["key"] = f"the first {MOST_KEY} of {len(key)} bytes of its key"
        key = key[:MOST_KEY]
    if sum(len(h.key.encode()) + len(h.value or b"") for h in headers) > MOST_HEADERS:
        cut["headers"] = "none of its headers"
        headers = []
    return key, value, headers, cut


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
