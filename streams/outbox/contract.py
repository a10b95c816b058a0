"""What the outbox drives (a machine) and what it writes through (a broker), as small interfaces.

The errors a broker may raise, and what the writer makes of them:

    BrokerError
     ├─ Fenced      another producer owns the partition now: stop, and reopen only as a proven member
     └─ Transient   the broker was away or slow: reopen and do the same batch again

Anything else that a batch raises counts against its records: see `streams.outbox.writer`.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Inbound:
    """A record of the input topic as Kafka delivered it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def size(self) -> int:
        """Bytes of key and value."""
        return len(self.key or b"") + len(self.value or b"")


@dataclass(frozen=True, slots=True)
class Outbound:
    """A record to write. `partition` None lets the key decide."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None


class Machine(Protocol):
    """The state of one partition and the decisions about it. One instance serves one opening of the partition."""

    def load(self, key: bytes, value: bytes | None) -> None:
        """Apply one record of the changelog, while the partition is opened."""

    def loaded(self) -> None:
        """The changelog has been applied to its end."""

    async def prepare(self, batch: Sequence[Inbound]) -> None:
        """Fetch what deciding about `batch` needs (schemas, configuration). Decides nothing."""

    def handle(self, inbound: Inbound) -> list[Outbound]:
        """Decide about one record, apply the changes, and return what is to be written."""

    def flush(self) -> list[tuple[bytes, bytes | None]]:
        """The changelog records of all changes since the last flush."""

    def next_due(self) -> int | None:
        """When the earliest timer is due, milliseconds since the epoch, or None."""

    def tick(self, now: int) -> list[Outbound]:
        """Fire the timers that are due at `now`; may leave some for the next call."""

    def poison(self, inbound: Inbound, error: Exception) -> list[Outbound]:
        """Give up on a record that fails alone: a dead letter, and a terminal result where one is owed."""


class BrokerError(Exception):
    """Base of what a broker may raise."""


class Fenced(BrokerError):
    """Another producer with this transactional id was started."""


class Transient(BrokerError):
    """The broker didn't answer, or answered that it can't now."""


class PartitionBroker(Protocol):
    """Kafka as one partition's writer sees it. An instance lives from one opening to its close."""

    async def open(self) -> None:
        """Start the producer: fences the previous owner and aborts its open transaction."""

    def changelog(self) -> AsyncIterator[tuple[bytes, bytes | None]]:
        """The committed changelog of the partition, from its start to its end."""

    async def committed(self) -> int:
        """The offset from which to process; call it after `changelog`, when the old owner can't move it."""

    async def end_offset(self) -> int:
        """The end of the input, with what isn't committed yet: a timer may not pass an outcome that lies there."""

    async def read(self, start: int, stop: int) -> list[Inbound]:
        """The committed records with start <= offset < stop; the first of them while an open transaction hides others.

        Nothing is found only where nothing lies but markers.
        """

    async def write(
        self, outputs: Sequence[Outbound], changes: Sequence[tuple[bytes, bytes | None]], offset: int | None
    ) -> None:
        """One transaction: outputs, changelog records and, unless None, the consumed offset. Raises BrokerError."""

    async def close(self) -> None:
        """Abort what is open and let go."""


BrokerFactory = Callable[[int], PartitionBroker]
MachineFactory = Callable[[int], Machine]
