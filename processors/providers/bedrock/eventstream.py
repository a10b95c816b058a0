"""An incremental parser of AWS event streams (`application/vnd.amazon.eventstream`) that survives any split.

A frame is: its length, that of its headers, a CRC of both; headers; payload; a CRC of all before. botocore has a
parser too, but takes five times as long for a small frame, and answers can be read without botocore.
"""

import struct
import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

_PRELUDE: Final = struct.Struct(">III")
_CRC: Final = struct.Struct(">I")
_SHORT: Final = struct.Struct(">H")
# Bytes of a header's value by its type; None: a length of two bytes goes before.
_WIDTHS: Final[dict[int, int | None]] = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 6: None, 7: None, 8: 8, 9: 16}
_STRING: Final = 7


class BrokenFrame(ValueError):
    """The bytes are no event stream, damaged, or a frame is longer than the bound."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the headers of a frame say. `kind`: event, exception or error; `name`: of the event, or the error's code."""

    kind: str
    name: str
    message: str = ""


@dataclass(slots=True)
class FrameParser:
    """Feed bytes, get (head, payload) of each frame that is complete. `most` bounds the bytes of one frame."""

    most: int = 8 << 20
    _chunks: list[bytes] = field(default_factory=list)
    _size: int = 0
    _needed: int = _PRELUDE.size

    def feed(self, data: bytes) -> list[tuple[Head, bytes]]:
        """The frames that `data` completes, in order. Raises BrokenFrame."""
        self._chunks.append(data)
        self._size += len(data)
        if self._size < self._needed:
            return []
        buffer = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        frames: list[tuple[Head, bytes]] = []
        start = 0
        while (end := self._end(buffer, start)) <= len(buffer):
            frames.append(_frame(buffer, start, end))
            start = end
        rest = buffer[start:]
        self._chunks, self._size, self._needed = [rest], len(rest), end - start
        return frames

    def _end(self, buffer: bytes, start: int) -> int:
        """Where the frame at `start` ends; as long as its prelude isn't there, where that ends."""
        if len(buffer) - start < _PRELUDE.size:
            return start + _PRELUDE.size
        total, headers, crc = _PRELUDE.unpack_from(buffer, start)
        if zlib.crc32(buffer[start : start + 8]) != crc:
            raise BrokenFrame("the checksum of a frame's beginning doesn't hold")
        if total < _PRELUDE.size + headers + _CRC.size:
            raise BrokenFrame("a frame is shorter than its headers")
        if total > self.most:
            raise BrokenFrame(f"a frame is longer than {self.most} bytes")
        return start + int(total)


def _frame(buffer: bytes, start: int, end: int) -> tuple[Head, bytes]:
    body = end - _CRC.size
    if zlib.crc32(buffer[start:body]) != _CRC.unpack_from(buffer, body)[0]:
        raise BrokenFrame("the checksum of a frame doesn't hold")
    first = start + _PRELUDE.size
    payload = first + _PRELUDE.unpack_from(buffer, start)[1]
    return _head(buffer[first:payload]), buffer[payload:body]


@lru_cache(maxsize=64)
def _head(headers: bytes) -> Head:
    """Frames of one kind have the same headers, byte for byte. Raises BrokenFrame."""
    told: dict[str, str] = {}
    try:
        at = 0
        while at < len(headers):
            length = headers[at]
            name = headers[at + 1 : at + 1 + length].decode()
            at += 1 + length
            value_type = headers[at]
            width = _WIDTHS[value_type]
            at += 1
            if width is None:
                width = _SHORT.unpack_from(headers, at)[0]
                at += _SHORT.size
            if at + width > len(headers):
                raise BrokenFrame("a header is longer than the headers")
            if value_type == _STRING:
                told[name] = headers[at : at + width].decode()
            at += width
    except (KeyError, IndexError, UnicodeDecodeError, struct.error) as error:
        raise BrokenFrame(f"the headers of a frame can't be read: {error!r}") from error
    kind = told.get(":message-type", "event")
    name = told.get({"event": ":event-type", "exception": ":exception-type"}.get(kind, ":error-code"), "")
    return Head(kind, name, told.get(":error-message", ""))
