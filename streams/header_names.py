"""Header names that aren't UTF-8, made readable. Imported for its effect, by everything that consumes.

Kafka carries header names as they are, and librdkafka writes any bytes. aiokafka's iterator raises UnicodeDecodeError
for the first that isn't UTF-8, each time the record is read: one publisher could end a worker for ever. A batch that
holds such a name is read anew with the wrong bytes escaped (`\\xff`); all others are read as before.
"""

import struct
from typing import Any, Final

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy

_LOG_OVERHEAD: Final = 12
_LAST_OFFSET_DELTA: Final = 23


class _Kept(fetcher.MemoryRecords):  # type: ignore[misc]
    """The records of a fetch, which remember their bytes."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.raw = data


class _Escaping(bytes):
    """Bytes whose parts decode to text whatever is in them."""

    def __getitem__(self, at: Any) -> Any:
        part = super().__getitem__(at)
        return _Escaping(part) if isinstance(at, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, "backslashreplace")


class _Batch(_DefaultRecordBatchPy):  # type: ignore[misc]
    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer: Any = _Escaping(self._buffer)


class _Batches:
    """The batches of a fetch from the one that holds `offset` on."""

    def __init__(self, raw: bytes, offset: int) -> None:
        self._raw, self._at = raw, 0
        while self.has_next() and self._last_offset() < offset:
            self._at += self._size()

    def has_next(self) -> bool:
        return len(self._raw) - self._at > _LOG_OVERHEAD and len(self._raw) - self._at >= self._size()

    def next_batch(self) -> _Batch:
        start = self._at
        self._at += self._size()
        return _Batch(_Escaping(self._raw[start : self._at]))

    def _size(self) -> int:
        return _LOG_OVERHEAD + int(struct.unpack_from(">i", self._raw, self._at + 8)[0])

    def _last_offset(self) -> int:
        base = struct.unpack_from(">q", self._raw, self._at)[0]
        return int(base + struct.unpack_from(">i", self._raw, self._at + _LAST_OFFSET_DELTA)[0])


def _next(self: Any) -> Any:
    try:
        return next(self._records_iterator)
    except StopIteration:
        self._records_iterator = None
        raise
    except UnicodeDecodeError:
        if not isinstance(self._records, _Kept):
            raise
        self._records = _Batches(bytes(self._records.raw), self.next_fetch_offset)
        self._records_iterator = self._unpack_records()
        return next(self)


fetcher.MemoryRecords = _Kept
fetcher.PartitionRecords.__next__ = _next
