"""A segment of the dedupe memory: fingerprints of one hour in an open-addressing table of machine words.

A slot is three 64-bit words and the place of a text: 28 bytes (a dict of bytes takes six times that).
"""

import struct
from array import array
from collections.abc import Iterator
from typing import Final, NamedTuple

from processors.route.open_request import FORMAT, check_format

_WORDS: Final = 3
_HEAD: Final = struct.Struct(">BQ")  # format version, newest
_ENTRY: Final = struct.Struct("<BQQIIH")  # cancel, low, high, body, source, length of original
_CHUNK_BYTES: Final = 2048


class Entry(NamedTuple):
    """What is remembered under a fingerprint. `body` and `source` are 32-bit marks.

    `original` is a request id, empty where the fingerprint is of the id itself.
    """

    low: int
    high: int
    body: int = 0
    source: int = 0
    original: str = ""
    cancel: bool = False


class SegmentId(NamedTuple):
    """Hour since the epoch, and number of the part within it (an hour splits where it outgrows its share)."""

    hour: int
    part: int


class Segment:
    """Entries, their chunks in the changelog, and `newest`: the latest accepted_at of a request in it, ms."""

    __slots__ = (
        "_blob",
        "_mask",
        "_places",
        "_table",
        "cancels",
        "chunks",
        "count",
        "id",
        "newest",
        "tail",
        "tail_id",
    )

    def __init__(self, id_: SegmentId) -> None:
        self.id = id_
        self.newest = 0
        self.count = 0
        self.cancels = 0
        self.chunks: set[int] = set()
        self.tail = bytearray()
        self.tail_id = -1
        self._mask = 63
        self._table = array("Q", bytes(8 * _WORDS * (self._mask + 1)))
        self._places = array("I", bytes(4 * (self._mask + 1)))  # of an entry's original in the blob, or 0
        self._blob = bytearray(1)  # originals, each after its length; offset 0 stands for none

    def find(self, low: int, high: int) -> int:
        """Where the entry lies, or -1."""
        table, mask = self._table, self._mask
        at = (low & mask) * _WORDS
        while table[at] or table[at + 1]:
            if table[at] == low and table[at + 1] == high:
                return at
            at = at + _WORDS if at < mask * _WORDS else 0
        return -1

    def entry(self, at: int) -> Entry:
        """The entry at a place that `find` gave; whether it is a cancel isn't kept."""
        low, high, marks = self._table[at : at + _WORDS]
        place, original = self._places[at // _WORDS], ""
        if place:
            size = int.from_bytes(self._blob[place : place + 2], "little")
            original = self._blob[place + 2 : place + 2 + size].decode()
        return Entry(low, high, marks & 0xFFFF_FFFF, marks >> 32, original)

    def insert(self, entry: Entry) -> bool:
        """Remember an entry; False where it was there already."""
        if (self.count + 1) * 5 > (self._mask + 1) * 4:
            self._grow()
        low, high, body, source, original, cancel = entry
        table, last = self._table, self._mask * _WORDS
        at = (low & self._mask) * _WORDS
        while table[at] or table[at + 1]:
            if table[at] == low and table[at + 1] == high:
                return False
            at = at + _WORDS if at < last else 0
        table[at], table[at + 1], table[at + 2] = low, high, source << 32 | body
        if original:
            self._places[at // _WORDS] = self._keep(original)
        self.count += 1
        self.cancels += cancel
        return True

    def _keep(self, original: str) -> int:
        place, text = len(self._blob), original.encode()
        self._blob += len(text).to_bytes(2, "little") + text
        return place

    def _grow(self) -> None:
        old, places = self._table, self._places
        mask = self._mask = self._mask * 2 + 1
        table = self._table = array("Q", bytes(8 * _WORDS * (mask + 1)))
        self._places = array("I", bytes(4 * (mask + 1)))
        last = mask * _WORDS
        for of in range(0, len(old), _WORDS):
            low, high = old[of], old[of + 1]
            if not low and not high:
                continue
            at = (low & mask) * _WORDS
            while table[at] or table[at + 1]:
                at = at + _WORDS if at < last else 0
            table[at], table[at + 1], table[at + 2] = low, high, old[of + 2]
            if places[of // _WORDS]:
                self._places[at // _WORDS] = places[of // _WORDS]

    def append(self, entry: Entry) -> int:
        """Add an entry's bytes to the chunk being written; returns the chunk's number."""
        if self.tail_id < 0 or len(self.tail) >= _CHUNK_BYTES:
            self.tail_id = max(self.chunks, default=-1) + 1
            self.tail = bytearray()
            self.chunks.add(self.tail_id)
        text = entry.original.encode()
        low, high, body, source = entry[:4]
        self.tail += _ENTRY.pack(entry.cancel, low, high, body, source, len(text)) + text
        return self.tail_id

    def chunk_value(self, body: bytes | bytearray) -> bytes:
        """The changelog's value of a chunk."""
        return _HEAD.pack(FORMAT, self.newest) + body

    def entries(self) -> Iterator[Entry]:
        """Every entry, in no order."""
        for at in range(0, len(self._table), _WORDS):
            if self._table[at] or self._table[at + 1]:
                yield self.entry(at)


def read_chunk(value: bytes) -> tuple[int, list[Entry]]:
    """`newest` and the entries of a chunk. Raises UnreadableState where the format is another."""
    check_format(value, "a dedupe record")
    _, newest = _HEAD.unpack_from(value)
    entries, at = [], _HEAD.size
    while at < len(value):
        cancel, low, high, body, source, size = _ENTRY.unpack_from(value, at)
        at += _ENTRY.size
        entries.append(Entry(low, high, body, source, value[at : at + size].decode(), bool(cancel)))
        at += size
    return newest, entries
