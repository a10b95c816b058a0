"""What earlier reconciliations saw agree, so that rows can be checked when Kafka has deleted the records. Pure.

A seal says how many rows a table had of a range, and their digest: the sum of a hash of each offset, modulo 2**64. So
the digests of adjacent ranges add up, and one query checks many seals at once.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sinks.ledger import Partition

_MODULUS: Final = 1 << 64


@dataclass(frozen=True, slots=True, order=True)
class Seal:
    """Positions [start, end) of a partition held `rows` rows of `table` with this digest."""

    table: str
    at: Partition
    start: int
    end: int
    rows: int
    digest: int


def cover(seals: Iterable[Seal], below: int) -> list[Seal]:
    """Seals of one table and partition that begin below `below`, without overlaps, from the front.

    Of those that begin at the same position the longest is taken. What lies between two that don't meet is unsealed.
    """
    chosen: list[Seal] = []
    for seal in sorted(seals, key=lambda s: (s.start, -s.end)):
        if seal.start < below and (not chosen or seal.start >= chosen[-1].end):
            chosen.append(seal)
    return chosen


def joined(seals: Sequence[Seal]) -> Iterator[list[Seal]]:
    """Runs of seals of which each begins where the one before it ends."""
    run: list[Seal] = []
    for seal in seals:
        if run and run[-1].end != seal.start:
            yield run
            run = []
        run.append(seal)
    if run:
        yield run


def together(run: Sequence[Seal]) -> Seal:
    """What adjacent seals say of the whole range."""
    first = run[0]
    rows, digest = sum(s.rows for s in run), sum(s.digest for s in run) % _MODULUS
    return Seal(first.table, first.at, first.start, run[-1].end, rows, digest)
