"""Content encodings of requests and answers, piecewise in both directions.

Names are HTTP's: gzip, deflate (zlib's format, as ClickHouse has it), lz4 (frames), zstd, xz, bz2.
"""

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable
from typing import Any, Final, Protocol

import lz4.frame

from streams.local.clickhouse_server import errors

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class Encoder(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Lz4Encoder:
    def __init__(self) -> None:
        self._frame: Any = lz4.frame.LZ4FrameCompressor()
        self._begun = False

    def compress(self, data: bytes, /) -> bytes:
        begin = b"" if self._begun else self._frame.begin()
        self._begun = True
        return bytes(begin + self._frame.compress(data))

    def flush(self) -> bytes:
        return self.compress(b"") + bytes(self._frame.flush())


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


# The order is the server's preference among what a client accepts.
_ENCODERS: Final[dict[str, Callable[[], Encoder]]] = {
    "lz4": _Lz4Encoder,
    "zstd": lambda: zstd.ZstdCompressor(level=1),
    "gzip": lambda: zlib.compressobj(1, zlib.DEFLATED, 31),
    "deflate": lambda: zlib.compressobj(1),
}
_INFLATERS: Final[dict[str, Callable[[], Any]]] = {
    "gzip": lambda: zlib.decompressobj(31),
    "x-gzip": lambda: zlib.decompressobj(31),
    "deflate": zlib.decompressobj,
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": zstd.ZstdDecompressor,
    "xz": lzma.LZMADecompressor,
    "bz2": bz2.BZ2Decompressor,
}
_BROKEN = (zlib.error, lzma.LZMAError, zstd.ZstdError, RuntimeError, OSError, ValueError, EOFError)


def choose(accept_encoding: str) -> str | None:
    """The encoding to answer in, None for none, by a request's Accept-Encoding."""
    offers = [offer.partition(";") for offer in accept_encoding.lower().split(",")]
    accepted = {name.strip() for name, _, weight in offers if weight.replace(" ", "") not in ("q=0", "q=0.0")}
    return next((name for name in _ENCODERS if name in accepted), None)


def encoder(name: str | None) -> Encoder:
    """Compresses an answer. `flush` ends it."""
    return _ENCODERS[name]() if name else _Plain()


class Decoder:
    """Decompresses a request's body; frames or members may follow one another."""

    def __init__(self, encoding: str, most: int = 4 << 20) -> None:
        """`most` bytes at a time come out. Raises EngineError for an encoding that the server doesn't know."""
        self._name = encoding.strip().lower()
        self._most = most
        self._plain = self._name in ("", "identity")
        if not self._plain and self._name not in _INFLATERS:
            known = ", ".join(sorted(_INFLATERS))
            message = f"Unknown Content-Encoding '{encoding}': send the body plain or in one of {known}"
            raise errors.EngineError(errors.NOT_IMPLEMENTED, message)
        self._inflater: Any = None
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take compressed bytes; `read` gives what they hold."""
        self._rest += data

    def read(self) -> bytes:
        """The next plain bytes, at most `most` of them, empty when more must be fed. Raises EngineError if broken."""
        if self._plain:
            out, self._rest = self._rest, b""
            return out
        try:
            return self._inflate()
        except _BROKEN as error:
            raise errors.EngineError(errors.CANNOT_DECOMPRESS, f"The body is no valid {self._name}: {error}") from None

    def end(self) -> None:
        """Raises EngineError if the body ended in the middle of a frame."""
        if self._rest or self._inflater is not None:
            raise errors.EngineError(errors.CANNOT_DECOMPRESS, f"The body's {self._name} data end too early")

    def _inflate(self) -> bytes:
        while True:
            if self._inflater is None:
                if not self._rest:
                    return b""
                self._inflater = _INFLATERS[self._name]()
            data, self._rest = self._rest, b""
            out: bytes = self._inflater.decompress(data, self._most)
            if self._inflater.eof:
                self._rest = self._inflater.unused_data or b""
                self._inflater = None
            elif (tail := getattr(self._inflater, "unconsumed_tail", None)) is not None:
                self._rest = tail
            if out or not (self._rest and self._inflater is None):
                return out
