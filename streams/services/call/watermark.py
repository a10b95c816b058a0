"""The contiguous low-water mark of one call partition, and where its journal must be read from again.

Calls complete out of order. The committed offset is the mark: everything below it is done. What lies above it
is told apart by the attempt journal after a crash, so the commit's metadata carries the journal offset from
which a new owner reads: no record of an offset at or above the mark lies before it.
"""

import heapq

import msgspec


class CommitNote(msgspec.Struct, kw_only=True):
    """The commit metadata: `j` is the journal offset to replay from, `v` the version of this form."""

    j: int
    v: int = 1


def encode_note(journal_offset: int) -> str:
    """The metadata text of a commit."""
    return msgspec.json.encode(CommitNote(j=journal_offset)).decode()


def decode_note(text: str | None) -> int | None:
    """The journal offset in a commit's metadata; None where it can't be read (replay everything then)."""
    try:
        note = msgspec.json.decode((text or "").encode(), type=CommitNote)
    except msgspec.MsgspecError:
        return None
    return note.j if note.v == 1 and note.j >= 0 else None


class Watermark:
    """`position`: the next offset to be delivered. Offsets are added in rising order, done in any order."""

    def __init__(self, position: int) -> None:
        self._position = position
        self._open: dict[int, None] = {}
        self._needs: list[tuple[int, int]] = []

    def add(self, offset: int) -> None:
        """An offset was delivered; gaps (transaction markers) are normal. Raises ValueError if it isn't new."""
        if offset < self._position:
            raise ValueError(f"offset {offset} was delivered after {self._position - 1}")
        self._open[offset] = None
        self._position = offset + 1

    def journaled(self, offset: int, journal_offset: int) -> None:
        """A record of `offset` lies in the journal at `journal_offset` or later."""
        heapq.heappush(self._needs, (journal_offset, offset))

    def done(self, offset: int) -> None:
        """The offset needs no more work; doing it again changes nothing."""
        self._open.pop(offset, None)

    @property
    def mark(self) -> int:
        """The offset to commit."""
        return next(iter(self._open), self._position)

    @property
    def above(self) -> int:
        """How many offsets the mark lags behind the last delivered one."""
        return self._position - self.mark

    @property
    def unfinished(self) -> int:
        """Offsets delivered and not done."""
        return len(self._open)

    def replay_from(self, journal_end: int) -> int:
        """Where a new owner starts in the journal; `journal_end`: no later record of ours lies before it."""
        mark = self.mark
        while self._needs and self._needs[0][1] < mark:
            heapq.heappop(self._needs)
        return min(self._needs[0][0], journal_end) if self._needs else journal_end
