"""What the outbox tells the outside: counts and times, for metrics and tests."""

from typing import Protocol


class Observer(Protocol):
    """Called by writers at each event of a partition's life."""

    def opened(self, partition: int, changelog_records: int, took_ms: int) -> None:
        """The partition is open."""

    def committed(self, partition: int, inputs: int, outputs: int, took_ms: int) -> None:
        """A transaction was committed."""

    def aborted(self, partition: int, reason: str) -> None:
        """The partition was let go: fenced | broker | record."""

    def poisoned(self, partition: int, offset: int) -> None:
        """A record was given up."""

    def took(self, partition: int) -> None:
        """Records may have left the buffer, committed or not."""

    def closed(self, partition: int) -> None:
        """The partition isn't this worker's any more."""


class Silent:
    """An observer that does nothing."""

    def opened(self, partition: int, changelog_records: int, took_ms: int) -> None:
        """See `Observer`."""

    def committed(self, partition: int, inputs: int, outputs: int, took_ms: int) -> None:
        """See `Observer`."""

    def aborted(self, partition: int, reason: str) -> None:
        """See `Observer`."""

    def poisoned(self, partition: int, offset: int) -> None:
        """See `Observer`."""

    def took(self, partition: int) -> None:
        """See `Observer`."""

    def closed(self, partition: int) -> None:
        """See `Observer`."""
