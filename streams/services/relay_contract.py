"""What the parts of the relay tell each other."""

from dataclasses import dataclass
from typing import Any, Protocol

from schemas import names
from schemas.records import DeadLetter, ResultEvent


@dataclass(frozen=True)
class RelaySettings:
    """Where the relay reads and how it is named. Times in milliseconds."""

    brokers: str
    app_id: str
    source: str = names.RESULTS
    dead_letters: str = names.DEAD_LETTERS
    session_timeout_ms: int = 8000
    offsets_every_ms: int = 1000
    topics_every_ms: int = 1000  # the soonest that an unknown topic is looked for again
    topics_age_ms: int = 10_000  # the longest that a topic is believed to exist
    transaction_timeout_ms: int = 10_000
    transaction_grace_ms: int = 5000
    batch_records: int = 200
    max_bytes: int = 6 << 20

    @property
    def group_id(self) -> str:
        return f"{self.app_id}-relay"

    @property
    def step_s(self) -> float:
        """The longest that a transaction, or an opening, may take. The broker ends a transaction before that."""
        return (self.transaction_timeout_ms + self.transaction_grace_ms) / 1000


@dataclass(frozen=True)
class Copy:
    """A record to write: a copy or, where `refused` gives a reason, a dead letter.

    `record` is what it was made from; `result` is that record decoded, where it could be.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp: int | None
    refused: str | None = None
    record: Any = None
    result: ResultEvent | None = None


class ResultCodec(Protocol):
    """What the relay needs of the codec."""

    async def decode_async(self, data: bytes | None, expected: type[ResultEvent]) -> ResultEvent:
        """The event, or Invalid."""

    def encode(self, record: DeadLetter, subject_topic: str | None = None) -> bytes:
        """The wire bytes."""


class Observer(Protocol):
    """What the relay tells about itself."""

    def copied(self) -> None: ...

    def refused(self, reason: str) -> None: ...

    def hanging(self, partition: int, seconds: float) -> None: ...

    def lag(self, partition: int, positions: int) -> None: ...

    def gap(self, partition: int, positions: int) -> None: ...

    def forgotten(self, partition: int) -> None: ...
