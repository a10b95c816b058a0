"""Route's state as records of the compacted changelog topic.

Keys: `r` + 16 bytes (an open request), `d` + hour + part + chunk (dedupe entries), `m` (counters, chain head,
watermark). Every value begins with a format version; a tombstone deletes.
"""

import struct
from collections import deque
from typing import Final

import msgspec

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
from processors.route.open_request import FORMAT, UnreadableState, check_format
from processors.route.segment import SegmentId, read_chunk
from processors.route.state import State

_CHUNK_KEY: Final = struct.Struct(">cIIi")
_META_KEY: Final = b"m"
_MOST_TOMBSTONES: Final = 500


class _Meta(msgspec.Struct, array_like=True):
    accepted: int
    terminal: int
    sequence: int
    head: bytes
    watermark: int
    dropped_hour: int
    dropped_part: int


class Changelog:
    """Collects what changed since the last flush, the last value of each key."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._requests: dict[bytes, bytes | None] = {}
        self._chunks: dict[tuple[SegmentId, int], bytearray] = {}
        self._tombstones: deque[bytes] = deque()
        self._meta_changed = False

    def apply(self, change: Change) -> None:
        """Apply a change to the state and note what to write."""
        if isinstance(change, RequestPut):
            self._requests[change.key] = change.packed
        elif isinstance(change, RequestGone):
            self._requests[change.key] = None
        elif isinstance(change, Remembered):
            self._remember(change)
            return
        elif isinstance(change, Dropped):
            self._bury(change.segment)
            self._meta_changed = True
        elif isinstance(change, Progress):
            self._meta_changed = True
        self._state.apply(change)

    def _remember(self, change: Remembered) -> None:
        before = self._state.dedupe.count
        self._state.apply(change)
        if self._state.dedupe.count > before:
            segment = self._state.dedupe.segments[change.segment]
            chunk = segment.append(change.entry)
            self._chunks[change.segment, chunk] = segment.tail

    def _bury(self, id_: SegmentId) -> None:
        segment = self._state.dedupe.segments.get(id_)
        for chunk in sorted(segment.chunks) if segment is not None else ():
            self._chunks.pop((id_, chunk), None)
            self._tombstones.append(_chunk_key(id_, chunk))

    def bury_dropped(self) -> None:
        """After loading: forget the segments that were dropped before their tombstones were all written."""
        dedupe = self._state.dedupe
        for id_ in sorted(i for i in dedupe.segments if i <= dedupe.dropped):
            self._bury(id_)
            self._state.apply(Dropped(id_, 0))

    def flush(self) -> list[tuple[bytes, bytes | None]]:
        """Keys and values to write now; tombstones of dropped segments come spread over several flushes."""
        records: list[tuple[bytes, bytes | None]] = [(b"r" + k, v) for k, v in self._requests.items()]
        for (id_, chunk), body in self._chunks.items():
            records.append((_chunk_key(id_, chunk), self._state.dedupe.segments[id_].chunk_value(body)))
        if self._meta_changed:
            records.append((_META_KEY, self._meta()))
        while self._tombstones and len(records) < _MOST_TOMBSTONES:
            records.append((self._tombstones.popleft(), None))
        self._requests.clear()
        self._chunks.clear()
        self._meta_changed = False
        return records

    def _meta(self) -> bytes:
        progress, dedupe = self._state.progress, self._state.dedupe
        meta = _Meta(
            progress.accepted,
            progress.terminal,
            progress.sequence,
            progress.head,
            dedupe.watermark,
            dedupe.dropped.hour,
            dedupe.dropped.part,
        )
        return bytes([FORMAT]) + msgspec.msgpack.encode(meta)


def read(key: bytes, value: bytes | None) -> list[Change]:
    """The changes that a changelog record stands for. Raises UnreadableState for a format it doesn't know."""
    if key[:1] == b"r":
        if value is None:
            return [RequestGone(key[1:])]
        check_format(value, "a request")
        return [RequestPut(key[1:], value)]
    if key[:1] == b"d":
        _, hour, part, chunk = _CHUNK_KEY.unpack(key)
        newest, entries = (0, None) if value is None else read_chunk(value)
        return [ChunkRead(SegmentId(hour, part), chunk, newest, entries)]
    if key == _META_KEY and value is not None:
        check_format(value, "the meta record")
        meta = msgspec.msgpack.decode(memoryview(value)[1:], type=_Meta)
        mark = WatermarkRead(SegmentId(meta.dropped_hour, meta.dropped_part), meta.watermark)
        return [Progress(meta.accepted, meta.terminal, meta.sequence, meta.head), mark]
    raise UnreadableState(f"route's state has a record of unknown key {key!r}: a newer version wrote it")


def _chunk_key(id_: SegmentId, chunk: int) -> bytes:
    return _CHUNK_KEY.pack(b"d", id_.hour, id_.part, chunk)
