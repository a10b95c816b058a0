"""A table of the sink as its code knows it."""

from dataclasses import dataclass
from typing import Any, Final

LEASE_COLUMN: Final = "lease_until"
"""A column of every table that isn't kept: an insert which arrives after it is refused."""


@dataclass(frozen=True)
class Table:
    name: str
    columns: tuple[str, ...]
    types: tuple[str, ...]

    def plain_row(self, now_ms: int) -> tuple[Any, ...]:
        """A row that gives nothing but the time: a table that refuses it refuses whatever it is given."""
        return tuple(_plain(kind, now_ms) for kind in self.types)


def _plain(kind: str, now_ms: int) -> Any:
    if kind.startswith("Nullable"):
        return None
    if kind.startswith("Array"):
        return []
    if kind.startswith("Map"):
        return {}
    if kind.startswith("DateTime64"):
        return now_ms
    return "" if "String" in kind else 0
