"""What goes into and out of a stage's state machine: where an event lay, and an event to write."""

from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class Source:
    """Where a consumed record lay; `timestamp` is its Kafka timestamp, milliseconds since the epoch."""

    topic: str
    partition: int
    offset: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class Emit:
    """An event to write in the transaction of the record that caused it.

    `partition` None stands for the writer's own partition number, on call topics for the partition that the
    hash of the key (the request id) gives. Header values are UTF-8.
    """

    topic: str
    record: msgspec.Struct
    key: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None
