"""What earlier reconciliations saw agree, so that rows can be checked when Kafka has deleted the records. Pure.

A seal says how many rows a table had of a range, and their digest: the sum of a hash of each offset, modulo 2**64. So
the digests of adjacent ranges add up, and one query checks many seals at once.
"""

from collections import deque
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
    """Seals of one table and partition that begin below `below`, from the front, until all that any covers is covered.

    The next is one that begins where the last one ends, the longest of these; where there is none, one that overlaps it
    and reaches farthest. What lies between two that neither meet nor overlap is unsealed.
    """
    queue = deque(sorted((s for s in seals if s.start < below), key=lambda s: (s.start, -s.end)))
    chosen: list[Seal] = []
    farthest: Seal | None = None
    while True:
        reached = chosen[-1].end if chosen else -1
        meets: Seal | None = None
        while queue and queue[0].start <= reached:
            seal = queue.popleft()
            if meets is None and seal.start == reached:
                meets = seal
            if farthest is None or seal.end > farthest.end:
                farthest = seal
        following = meets or (farthest if farthest is not None and farthest.end > reached else None)
        if following is None and not queue:
            return chosen
        chosen.append(following or queue.popleft())


def covered(seals: Iterable[Seal], start: int, end: int) -> int:
    """How many of the positions [start, end) lie in one of `seals`, which are in the order of `cover`."""
    count = 0
    for seal in seals:
        count += max(0, min(seal.end, end) - max(seal.start, start))
        start = max(start, seal.end)
    return count


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
