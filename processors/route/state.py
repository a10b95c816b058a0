"""Route's state of one partition, and the one way to change it."""

from typing import NamedTuple, assert_never

from processors.route.changes import (
    Change,
    ChunkRead,
    Dropped,
    Progress,
    Remembered,
    RequestGone,
    RequestPut,
    WatermarkRead,
)
from processors.route.dedupe import Dedupe
from processors.route.segment import Entry, SegmentId


class Snapshot(NamedTuple):
    """Everything that the changelog must hold, in a form that compares."""

    requests: dict[bytes, bytes]
    entries: list[Entry]
    segments: dict[SegmentId, tuple[int, int, int]]  # entries, cancels, newest
    progress: Progress
    watermark: int
    dropped: SegmentId


class State:
    """Open requests (packed, by fingerprint of tenant and id), the dedupe memory, and the counters."""

    def __init__(self) -> None:
        self.requests: dict[bytes, bytes] = {}
        self.dedupe = Dedupe()
        self.progress = Progress()

    def apply(self, change: Change) -> None:
        """Make one change. Applying a changelog again, or only its compacted rest, gives the same state."""
        match change:
            case RequestPut(key, packed):
                self.requests[key] = packed
            case RequestGone(key):
                self.requests.pop(key, None)
            case Remembered(segment, entry, newest):
                self.dedupe.add(segment, entry, newest)
            case Progress():
                self.progress = change
            case Dropped(segment, watermark):
                self.dedupe.drop(segment, watermark)
            case ChunkRead():
                self._read(change)
            case WatermarkRead(dropped, watermark):
                self.dedupe.mark(dropped, watermark)
            case _:
                assert_never(change)

    def _read(self, change: ChunkRead) -> None:
        segment = self.dedupe.segment(change.segment)
        if change.entries is None:
            segment.chunks.discard(change.chunk)
            return
        segment.chunks.add(change.chunk)
        self.dedupe.read(segment, change.entries, change.newest)

    def snapshot(self) -> Snapshot:
        """A copy of the state, to compare with another."""
        known = self.dedupe.segments
        return Snapshot(
            dict(self.requests),
            sorted(e for s in known.values() for e in s.entries()),
            {i: (s.count, s.cancels, s.newest) for i, s in known.items()},
            self.progress,
            self.dedupe.watermark,
            self.dedupe.dropped,
        )
