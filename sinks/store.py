"""What the sink needs of its store, and how a store says that it could not do it.

StoreError
 ├─ Unavailable   not now; it may or may not have been applied. Waiting and trying again is right, always
 ├─ LeaseOver     it came too late: the writer must look at the ledger before it tries again. Not applied
 └─ Refused       the rows themselves are refused: trying the same again gives the same. Not applied
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from sinks.ledger import Coordinates, Range, Version

Row = tuple[Any, ...]
"""The values of one row in the order of its table's columns; they end in topic, partition, offset, timestamp."""

Probe = Callable[[Sequence[Row]], Awaitable[None]]
"""Does all that an insert would do short of keeping the rows. Raises Refused, Unavailable."""


def coordinates(row: Row) -> Coordinates:
    """Where the record that made this row lies."""
    return row[-4], row[-3], row[-2]


class StoreError(Exception):
    """Base of the errors; `code` is the engine's error number where there is one."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class Unavailable(StoreError):
    """Not now. The request may have been applied."""


class LeaseOver(StoreError):
    """The request came after its lease; it was not applied."""


class Refused(StoreError):
    """The engine does not take these rows; none was applied."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The last version of the ledger, None where it is empty, and the store's own clock (ms) when it read that."""

    last: Version | None
    now: int


class Store(Protocol):
    """The store. Every call may raise Unavailable.

    A block whose token the store still remembers is acknowledged and not applied again. It remembers a token for
    longer than a lease lasts.
    """

    async def latest(self) -> Reading:
        """The last version; of several with one number the one that was first."""

    async def version(self, sequence: int) -> Version | None:
        """The version with the number `sequence`; of several the one that was first."""

    async def append(self, version: Version, token: str, lease: int) -> None:
        """Write a version of the ledger. Raises LeaseOver after `lease` (ms of the store's clock)."""

    async def insert(self, table: str, rows: Sequence[Row], token: str, lease: int) -> None:
        """Write rows as one block. Raises LeaseOver after `lease`, Refused where it doesn't take a row."""

    async def present(self, table: str, ranges: Iterable[Range]) -> set[Coordinates]:
        """The records of `ranges` that have a row in `table`."""

    def probing(self, table: str) -> AbstractAsyncContextManager[Probe]:
        """A probe of `table`. To begin and to end it raises nothing."""

    async def fault(self, table: str) -> str | None:
        """What is wrong with `table` itself: its columns, or that it refuses even a row that it has taken before.

        None when nothing is. Where it has no row yet, a plain one is tried.
        """
