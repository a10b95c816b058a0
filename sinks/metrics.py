"""What the sink counts. The names under which it shows are the running system's business."""

from typing import Protocol


class Metrics(Protocol):
    def landed(self, table: str, rows: int) -> None:
        """`rows` of `table` are in."""

    def chunk(self, seconds: float, rows: int, size: int) -> None:
        """A chunk of `rows` rows, made of `size` bytes of records, took `seconds` from intent to done."""

    def freshness(self, seconds: float) -> None:
        """The oldest record of a chunk was `seconds` old (by its Kafka timestamp) when it had landed."""

    def repeated(self) -> None:
        """An intent that was found open has been finished."""

    def lost(self) -> None:
        """A chunk was given up before its intent: another worker had gone on from there."""

    def dead_letter(self, reason: str) -> None:
        """A record could not be made a row, or its row was refused."""

    def gap(self, topic: str, positions: int) -> None:
        """Kafka had deleted `positions` positions before they were read."""

    def recreated(self, topic: str, partitions: int) -> None:
        """So many partitions of `topic` aren't written, since less is in Kafka than was read: it is another topic."""

    def retried(self, what: str) -> None:
        """A call to the store failed and is tried again."""

    def paused(self, paused: bool) -> None:
        """Whether the sink waits for its store."""

    def failing(self, what: str, code: int | None, failures: int) -> None:
        """`what` has failed so often in a row, last with the store's error `code` (None: it gave none). 0: no more."""

    def lag(self, topic: str, positions: int) -> None:
        """Positions of `topic` that are readable and not yet in the store."""


class NoMetrics:
    """Counts nothing."""

    def landed(self, table: str, rows: int) -> None: ...
    def chunk(self, seconds: float, rows: int, size: int) -> None: ...
    def freshness(self, seconds: float) -> None: ...
    def repeated(self) -> None: ...
    def lost(self) -> None: ...
    def dead_letter(self, reason: str) -> None: ...
    def gap(self, topic: str, positions: int) -> None: ...
    def recreated(self, topic: str, partitions: int) -> None: ...
    def retried(self, what: str) -> None: ...
    def paused(self, paused: bool) -> None: ...
    def failing(self, what: str, code: int | None, failures: int) -> None: ...
    def lag(self, topic: str, positions: int) -> None: ...
