"""Gathers rows into chunks: small ones within `linger` seconds when it is quiet, large ones when it is busy.

While one chunk is on its way into the store the next one gathers, up to `most_bytes`; then reading stops.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from sinks.ledger import Partition, Range
from sinks.mapping import Mapped


@dataclass(frozen=True, slots=True)
class Limits:
    """When a chunk is due.

    After its first record has waited `linger` seconds; or, where `busy_rows` have come by then, `busy_linger`
    seconds; or, where `flood_rows` have come by then, so long that it is in after `flood_s` seconds, by what the last
    chunks took to be written: what a chunk costs the store hardly depends on its rows, so the busier it is the more
    of them share that. At once at `rows` rows or `size` bytes.
    """

    linger: float = 0.4
    busy_linger: float = 1.0
    busy_rows: int = 500
    flood_s: float = 1.5
    flood_rows: int = 4_500
    rows: int = 20_000
    size: int = 8 * 1024 * 1024

    def linger_of(self, rows: int, writing_s: float) -> float:
        """How long a chunk that has come to `rows` rows waits, where writing takes `writing_s`."""
        if rows >= self.flood_rows:
            return max(self.busy_linger, self.flood_s - writing_s)
        return self.busy_linger if rows >= self.busy_rows else self.linger


@dataclass(slots=True)
class Chunk:
    """Rows of several ranges that go in together; `gaps` are ranges that Kafka had deleted before them."""

    ranges: tuple[Range, ...]
    mapped: Mapped
    gaps: tuple[Range, ...] = ()


@dataclass(slots=True)
class _Gathered:
    start: int
    end: int
    mapped: Mapped
    gap: Range | None = None


class Gatherer:
    """What has been read of each opened partition and isn't in a chunk yet."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._parts: dict[Partition, _Gathered] = {}
        self._since: float | None = None
        self._writing_s = 0.0
        self.rows = 0
        self.size = 0

    def open(self, at: Partition, position: int) -> None:
        """Begin to gather from `position`."""
        self.close([at])
        self._parts[at] = _Gathered(position, position, Mapped())

    def close(self, partitions: Iterable[Partition]) -> None:
        """Drop what was gathered of these."""
        for at in partitions:
            part = self._parts.pop(at, None)
            if part is not None:
                self._uncount(part.mapped)

    @property
    def opened(self) -> frozenset[Partition]:
        return frozenset(self._parts)

    def expected(self, at: Partition) -> int:
        """The position from which the next records of `at` must come."""
        return self._parts[at].end

    def skip(self, at: Partition, position: int) -> Range:
        """Kafka has deleted everything below `position`: note the gap. What was gathered before goes first.

        Only for a partition of which nothing is gathered.
        """
        part = self._parts[at]
        assert part.start == part.end, "take the chunk first"
        part.gap = Range(*at, part.gap.start if part.gap else part.start, position)
        part.start = part.end = position
        return part.gap

    def add(self, at: Partition, mapped: Mapped, position: int) -> None:
        """Add what was read of `at` up to `position`."""
        part = self._parts[at]
        part.end = position
        part.mapped.extend(mapped)
        self.rows += mapped.row_count
        self.size += mapped.size
        if self._since is None and mapped.records:
            self._since = self._clock()

    def reach(self, at: Partition, position: int) -> None:
        """What lies before `position` and wasn't added holds no records: the next range covers it."""
        self._parts[at].end = max(self._parts[at].end, position)

    @property
    def empty(self) -> bool:
        return self._since is None

    @property
    def full(self) -> bool:
        return self.rows >= self._limits.rows or self.size >= self._limits.size

    def due_in(self) -> float | None:
        """Seconds until the chunk is due, 0 when it is, None when there is nothing."""
        if self._since is None:
            return None
        if self.full:
            return 0.0
        return max(0.0, self._since + self._limits.linger_of(self.rows, self._writing_s) - self._clock())

    def wrote(self, seconds: float) -> None:
        """A chunk took so long to be written. A slower one counts at once, faster ones little by little."""
        slower = seconds > self._writing_s
        self._writing_s += (seconds - self._writing_s) * (1.0 if slower else 0.2)

    def take(self) -> Chunk | None:
        """Everything gathered, as one chunk; gathering goes on from its end. None when there are no records."""
        ranges, gaps, mapped = [], [], Mapped()
        for at in sorted(self._parts):
            part = self._parts[at]
            if not part.mapped.records:
                continue
            ranges.append(Range(*at, part.start, part.end))
            mapped.extend(part.mapped)
            if part.gap is not None:
                gaps.append(part.gap)
            self._parts[at] = _Gathered(part.end, part.end, Mapped())
        self.rows = self.size = 0
        self._since = None
        return Chunk(tuple(ranges), mapped, tuple(gaps)) if ranges else None

    def settled(self) -> Mapping[Partition, int]:
        """For each partition of which nothing is gathered the position reached."""
        return {at: part.end for at, part in self._parts.items() if not part.mapped.records}

    def _uncount(self, mapped: Mapped) -> None:
        self.rows -= mapped.row_count
        self.size -= mapped.size
        if not any(p.mapped.records for p in self._parts.values()):
            self._since = None
