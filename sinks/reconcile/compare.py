"""Compares the records of a window of one partition with the rows that the tables have of it. Pure.

The rows are known first, as offsets by table; the records come after that, in order. A record whose rows make one of
the fullest sets that its topic gives needs no more looking at; only the others are decoded, which makes a comparison
more than twice as quick. The price: a row too many that makes a set the fullest (a text beside a result that has none)
isn't told from one that the record makes.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stored:
    """The rows of one table in a window: their offsets, and how often those are there that are more than once."""

    offsets: frozenset[int]
    doubled: Mapping[int, int]

    @classmethod
    def of(cls, offsets: Collection[int]) -> "Stored":
        """From the offsets of rows, in any order."""
        once = frozenset(offsets)
        if len(once) == len(offsets):
            return cls(once, {})
        return cls(once, {offset: n for offset, n in Counter(offsets).items() if n > 1})

    @property
    def rows(self) -> int:
        return len(self.offsets) + sum(n - 1 for n in self.doubled.values())


class Comparison:
    """Takes the records of one window one by one.

    `settled` first; where it says no, the record is decoded and `expect` says what of it is missing. When all have
    come, `strays` are the rows that no record accounts for.
    """

    def __init__(self, stored: Mapping[str, Stored], fullest: Iterable[frozenset[str]]) -> None:
        self._stored = {table: found for table, found in stored.items() if found.offsets}
        self._sets = [(1 << n, found.offsets) for n, found in enumerate(self._stored.values())]
        bits = {table: 1 << n for n, table in enumerate(self._stored)}
        self._full = frozenset(sum(bits[t] for t in tables) for tables in fullest if bits.keys() >= tables)
        self._seen: set[int] = set()
        self._unexpected: list[tuple[str, int]] = []

    @property
    def records(self) -> int:
        """How many records have come."""
        return len(self._seen)

    def settled(self, offset: int) -> bool:
        """Note the record at `offset`. True where its rows are one of the fullest sets."""
        self._seen.add(offset)
        mask = 0
        for bit, offsets in self._sets:
            if offset in offsets:
                mask |= bit
        return mask in self._full

    def has_rows(self, offset: int) -> bool:
        """Whether any table has a row of it."""
        return any(offset in offsets for _, offsets in self._sets)

    def expect(self, offset: int, tables: Collection[str]) -> list[str]:
        """The tables of `tables`, those of the record's rows, that lack them."""
        missing = [t for t in tables if t not in self._stored or offset not in self._stored[t].offsets]
        for table, found in self._stored.items():
            if offset in found.offsets and table not in tables:
                self._unexpected.append((table, offset))
        return missing

    def strays(self) -> list[tuple[str, int]]:
        """Rows, by table and offset, at whose offset no record lies, or one that makes no such row."""
        alone = [(t, o) for t, found in self._stored.items() for o in found.offsets - self._seen]
        return sorted(alone + self._unexpected)

    def doubled(self) -> list[tuple[str, int, int]]:
        """Table, offset and number of the rows that are there more than once."""
        return sorted((t, o, n) for t, found in self._stored.items() for o, n in found.doubled.items())
