"""Single values from bytes, for compiled readers. What the schema doesn't allow is a ValueError that says so.

Each takes the event and a position, and returns a value and the position behind it. Reading past the end of the
event is an IndexError.
"""

import struct
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Final

from schemas import logical

SIZES: Final = tuple(-1 if n & 0x81 else n >> 1 for n in range(256))
"""By the first byte of a length: the length; -1 where more bytes follow, or where it would be negative."""

INTS: Final = tuple(None if n & 0x80 else n >> 1 ^ -(n & 1) for n in range(256))
"""By the first byte of a number: the number; None where more bytes follow."""

read_double: Final = struct.Struct("<d").unpack_from
_six: Final = struct.Struct("6B").unpack_from


class Malformed(ValueError):
    """The bytes are none that the schema allows."""


def long(data: bytes, at: int) -> tuple[int, int]:
    """A number of 64 bits; also one that is written with more bytes than it needs, but not with more than ten."""
    n = shift = 0
    while True:
        byte = data[at]
        at += 1
        n |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise Malformed("a number has more than ten bytes")
    if n >> 64:
        raise Malformed("a number has more than 64 bits")
    return n >> 1 ^ -(n & 1), at


def int32(data: bytes, at: int) -> tuple[int, int]:
    """A number of 32 bits."""
    n, at = long(data, at)
    if not -(1 << 31) <= n < 1 << 31:
        raise Malformed(f"{n} has more than 32 bits")
    return n, at


def _digits(place: int) -> list[int]:
    """What a byte at `place` of a positive number of six bytes adds to it, by the byte.

    A byte that shows that the number is another one adds so much less that the sum is negative.
    """
    more = range(0x80, 0x100, 1 if place else 2) if place < 5 else range(0x80)
    digits = [-(1 << 62)] * 256
    for byte in more:
        digits[byte] = (byte & 0x7F) << 7 * place >> 1
    return digits


_D0, _D1, _D2, _D3, _D4, _D5 = (tuple(_digits(place)) for place in range(6))


def time(data: bytes, at: int) -> tuple[int, int]:
    """A number that most often has six bytes, as the milliseconds of the years 1971 to 2039 have."""
    try:
        a, b, c, d, e, f = _six(data, at)
    except struct.error:  # so near to the event's end
        return long(data, at)
    n = _D0[a] + _D1[b] + _D2[c] + _D3[d] + _D4[e] + _D5[f]
    return (n, at + 6) if n >= 0 else long(data, at)


def size(data: bytes, at: int) -> tuple[int, int]:
    """The length whose first byte lies before `at`, where SIZES doesn't know it."""
    low, high = data[at - 1], data[at]
    if low & 0x81 == 0x80 and high < 0x80:
        n, at = (low & 0x7F | high << 7) >> 1, at + 1
    else:
        n, at = long(data, at - 1)
    if n < 0:
        raise Malformed(f"a length is {n}")
    if n > len(data) - at:
        raise Malformed(f"a length is {n}, but {len(data) - at} bytes are left")
    return n, at


def branch(data: bytes, at: int) -> tuple[int, int]:
    """The branch, 0 or 1, of a union of two, whose first byte lies before `at`."""
    n, at = long(data, at - 1)
    if n not in (0, 1):
        raise Malformed(f"a union of two types has no branch {n}")
    return n, at


def count(data: bytes, at: int) -> tuple[int, int]:
    """The items of the next block of an array or a map; 0 is the end. Each item takes a byte at least, so that
    the event's end bounds how many are read."""
    n = SIZES[data[at]]
    if n >= 0:
        at += 1
    else:
        n, at = long(data, at)
        if n < 0:  # the block's size in bytes follows, for readers that skip it
            n = -n
            _, at = long(data, at)
    return n, at


def take(left: list[int], records: int) -> None:
    """Count records of an event that may hold `left[0]` more. Raises TooManyRecords."""
    left[0] -= records
    if left[0] < 0:
        raise logical.TooManyRecords


def decimal_reader(scale: int) -> Callable[[bytes, int], tuple[Decimal, int]]:
    """Reads decimals of this scale, each with its length."""

    multiply, unit = Context(prec=40).multiply, Decimal(1).scaleb(-scale)

    def read(data: bytes, at: int) -> tuple[Decimal, int]:
        length = SIZES[data[at]]
        at += 1
        if length < 0:
            length, at = size(data, at)
        if length > logical.MAX_DECIMAL_BYTES:
            raise logical.TooLarge(
                f"a decimal of {length} bytes; at most {logical.MAX_DECIMAL_BYTES} are read"
            )
        end = at + length
        return multiply(int.from_bytes(data[at:end], "big", signed=True), unit), end

    return read
