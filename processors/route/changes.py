"""The changes of route's state. Running and recovery apply the same: state projects its changelog."""

from dataclasses import dataclass

from processors.route.segment import Entry, SegmentId


@dataclass(frozen=True, slots=True)
class RequestPut:
    """An open request has this packed record now."""

    key: bytes
    packed: bytes


@dataclass(frozen=True, slots=True)
class RequestGone:
    """Every attempt of a request is settled."""

    key: bytes


@dataclass(frozen=True, slots=True)
class Remembered:
    """An entry of the dedupe memory. `newest` is the request's accepted_at, 0 for what isn't a request."""

    segment: SegmentId
    entry: Entry
    newest: int


@dataclass(frozen=True, slots=True)
class ChunkRead:
    """A chunk of dedupe entries as the changelog holds it; None where it was tombstoned."""

    segment: SegmentId
    chunk: int
    newest: int
    entries: list[Entry] | None


@dataclass(frozen=True, slots=True)
class Dropped:
    """A segment of the dedupe memory is forgotten, and what was accepted before the watermark is refused."""

    segment: SegmentId
    watermark: int


@dataclass(frozen=True, slots=True)
class WatermarkRead:
    """The watermark and the last segment dropped, as the changelog holds them."""

    dropped: SegmentId
    watermark: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Counters of the partition, and the head of its audit chain."""

    accepted: int = 0
    terminal: int = 0
    sequence: int = 0
    head: bytes = b""


Change = RequestPut | RequestGone | Remembered | ChunkRead | Dropped | WatermarkRead | Progress
