"""From Kafka records to the rows of a chunk: decode, map, and set aside what can't be either."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from schemas.codec import Codec
from schemas.records import DeadLetter
from schemas.registry import UnknownSchemaId
from schemas.signals import Invalid
from sinks import config_record
from sinks.config_record import ConfigRecord
from sinks.dead_letter import letter
from sinks.rows import KafkaRecord, Rows, rows_of
from sinks.store import Row

_OVERHEAD_BYTES = 64


def size_of(record: KafkaRecord) -> int:
    """What a record counts for in the size of a chunk."""
    return len(record.value or b"") + _OVERHEAD_BYTES


def fitting(records: Sequence[KafkaRecord], room: int) -> int:
    """How many of `records` go in while there is room; the last of them may go beyond it."""
    for number, record in enumerate(records):
        if room <= 0:
            return number
        room -= size_of(record)
    return len(records)


Decode = Callable[[KafkaRecord], Awaitable[Any] | Any]
"""Decodes a record's value: the event, or an awaitable of it where its schema must be fetched. Raises Invalid."""


def decoder(codec: Codec, events: Mapping[str, type[msgspec.Struct]]) -> Decode:
    """Decodes what lies on the topics of `events` as the event that the topic carries."""

    def decode(record: KafkaRecord) -> Any:
        event = events[record.topic]
        if event is ConfigRecord:
            return config_record.read(record.key, record.value)
        try:
            return codec.decode(record.value, event)
        except UnknownSchemaId:
            return codec.decode_async(record.value, event)

    return decode


@dataclass(slots=True)
class Mapped:
    """Rows by table in the order of their records, and the dead letters of the records that have none."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    rejected: list[DeadLetter] = field(default_factory=list)
    records: int = 0
    size: int = 0
    oldest: int | None = None

    def extend(self, other: "Mapped") -> None:
        for table, rows in other.rows.items():
            self.rows.setdefault(table, []).extend(rows)
        self.rejected += other.rejected
        self.records += other.records
        self.size += other.size
        if other.oldest is not None:
            self.oldest = other.oldest if self.oldest is None else min(self.oldest, other.oldest)

    @property
    def row_count(self) -> int:
        return sum(map(len, self.rows.values()))


Keep = Callable[[msgspec.Struct, Rows], Rows]
"""The rows of an event as they may be kept: emptied where an erasure has been ordered, marked where a hold stands."""


def _as_they_are(event: msgspec.Struct, rows: Rows) -> Rows:
    return rows


class Mapper:
    """Maps records; `decode` is the codec's, bound to the topics' events."""

    def __init__(self, decode: Decode, keep: Keep = _as_they_are) -> None:
        self._decode = decode
        self._keep = keep

    async def map(self, records: Iterable[KafkaRecord]) -> Mapped:
        """What `records` make. Never raises for what is in a record."""
        rows: dict[str, list[Row]] = {}
        rejected: list[DeadLetter] = []
        count, size, oldest = 0, 0, None
        for record in records:
            count += 1
            size += size_of(record)
            if oldest is None or record.timestamp < oldest:
                oldest = record.timestamp
            try:
                event = self._decode(record)
                if not isinstance(event, msgspec.Struct):
                    event = await event
                made = self._keep(event, rows_of(event, record))
            except Invalid as error:
                rejected.append(letter(record, error.reason, error.message))
                continue
            for table, row in made:
                if table in rows:
                    rows[table].append(row)
                else:
                    rows[table] = [row]
        return Mapped(rows, rejected, count, size, oldest)
