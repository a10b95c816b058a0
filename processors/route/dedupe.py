"""The dedupe memory: what was seen within the retention, in hourly segments, bounded in entries.

Segments are dropped oldest first: by age, or at the cap. What a drop forgets lies below the watermark from
then on: a request accepted before it is refused as too old, so that forgetting never accepts one twice.
"""

from collections.abc import Iterable
from typing import Final

from processors.route.fingerprints import halves
from processors.route.segment import Entry, Segment, SegmentId

HOUR_MS: Final = 3_600_000
# What a table of 2^17 slots holds: a part grows for the last time at half of it, in some 30 ms, and no further.
_MOST_IN_PART: Final = 104_857
_NEVER_DROPPED: Final = SegmentId(-1, 0)


class Dedupe:
    """Segments by id, the watermark (ms) and the last segment dropped."""

    def __init__(self) -> None:
        self.segments: dict[SegmentId, Segment] = {}
        self.watermark = 0
        self.dropped = _NEVER_DROPPED
        self.count = 0
        self._newest_first: list[Segment] = []

    def find(self, print_: bytes) -> Entry | None:
        """What is remembered under a fingerprint."""
        low, high = halves(print_)
        for segment in self._newest_first:
            at = segment.find(low, high)
            if at >= 0:
                return segment.entry(at)
        return None

    def cancelled(self, print_: bytes) -> bool:
        """True where a cancel is remembered under the fingerprint (cheap where no segment holds one)."""
        low, high = halves(print_)
        return any(s.cancels and s.find(low, high) >= 0 for s in self._newest_first)

    def place(self, at_ms: int, cap: int) -> SegmentId:
        """The segment for an entry of that time: the hour's last part, or its next one where that is full."""
        hour, part = max(SegmentId(at_ms // HOUR_MS, 0), SegmentId(self.dropped.hour, self.dropped.part + 1))
        while (found := self.segments.get(SegmentId(hour, part))) is not None:
            if (
                found.count < min(_MOST_IN_PART, max(1, cap // 4))
                and SegmentId(hour, part + 1) not in self.segments
            ):
                break
            part += 1
        return SegmentId(hour, part)

    def add(self, id_: SegmentId, entry: Entry, newest: int) -> Segment | None:
        """Remember an entry; None where its segment has it. `newest` is 0 for what isn't a request."""
        segment = self.segment(id_)
        if not segment.insert(entry):
            return None
        segment.newest = max(segment.newest, newest)
        self.count += 1
        return segment

    def read(self, segment: Segment, entries: Iterable[Entry], newest: int) -> None:
        """Take in a chunk of the changelog."""
        self.count += sum(map(segment.insert, entries))
        segment.newest = max(segment.newest, newest)

    def segment(self, id_: SegmentId) -> Segment:
        """The segment of that id, made where it is missing."""
        segment = self.segments.get(id_)
        if segment is None:
            segment = self.segments[id_] = Segment(id_)
            self._sort()
        return segment

    def drop(self, id_: SegmentId, watermark: int) -> Segment | None:
        """Forget a segment and raise the watermark."""
        self.mark(id_, watermark)
        segment = self.segments.pop(id_, None)
        if segment is not None:
            self.count -= segment.count
            self._sort()
        return segment

    def mark(self, dropped: SegmentId, watermark: int) -> None:
        """Raise the watermark and the last segment dropped; neither ever falls."""
        self.watermark = max(self.watermark, watermark)
        self.dropped = max(self.dropped, dropped)

    def oldest(self) -> Segment | None:
        """The segment that is dropped next."""
        return self._newest_first[-1] if self._newest_first else None

    def must_drop(self, now_ms: int, retention_ms: int, cap: int) -> bool:
        """True where a segment is too old or there are more entries than the cap (asked at each record)."""
        oldest = self.oldest()
        if oldest is None:
            return False
        return self.drop_at(oldest, retention_ms) <= now_ms or (self.count > cap and len(self.segments) > 1)

    def aged(self, now_ms: int, retention_ms: int) -> list[Segment]:
        """The segments whose hour lies wholly before the retention, oldest first."""
        old = (s for s in reversed(self._newest_first) if self.drop_at(s, retention_ms) <= now_ms)
        return list(old)

    def overflowing(self, cap: int) -> list[Segment]:
        """The segments, oldest first, that must go so that at most `cap` entries stay; the newest stays."""
        excess, found = self.count - cap, []
        for segment in reversed(self._newest_first[1:]):
            if excess <= 0:
                break
            found.append(segment)
            excess -= segment.count
        return found

    @staticmethod
    def drop_at(segment: Segment, retention_ms: int) -> int:
        """When a segment may be forgotten for its age, ms."""
        return (segment.id.hour + 1) * HOUR_MS + retention_ms

    def _sort(self) -> None:
        self._newest_first = [self.segments[i] for i in sorted(self.segments, reverse=True)]
