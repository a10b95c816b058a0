"""The bytes of single values, for compiled writers. What doesn't fit is a TypeError, ValueError or OverflowError."""

import struct
from collections.abc import Callable
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation
from typing import Any, Final

from schemas import logical

SHORT: Final = 1024
"""Lengths and counts below are looked up."""

_PAIR: Final = 1 << 14
_two = [bytes((n & 127 | 128, n >> 7 | 128)) for n in range(_PAIR)]
_PAIRS: Final = tuple(_two)
"""The two bytes of a number's lowest 14 bits where more follow."""
_LAST: Final = tuple(bytes((n,)) if n < 128 else bytes((n & 127 | 128, n >> 7)) for n in range(_PAIR))
"""A number of at most 14 bits as its last bytes."""

INTS: Final = _LAST[: SHORT * 2 : 2]
"""The numbers below SHORT, which lengths are as well."""
SOME: Final = tuple(b"\2" + length for length in INTS)
"""The same after the branch of a union that isn't null."""

pack_double: Final[Callable[[Any], bytes]] = struct.Struct("<d").pack


def long(value: Any) -> bytes:
    """A number of 64 bits."""
    number: int = value if type(value) is int else _integer(value)
    n = number << 1 if number >= 0 else ~(number << 1)
    if n < _PAIR:
        return _LAST[n]
    if n < 1 << 28:
        return _PAIRS[n & 16383] + _LAST[n >> 14]
    if n >> 64:
        raise ValueError(f"{value} has more than 64 bits")
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def time(value: Any) -> bytes:
    """A number that most often has five or six bytes, as the milliseconds until 2039 have."""
    if type(value) is int and 1 << 27 <= value < 1 << 41:
        return _PAIRS[value << 1 & 16383] + _PAIRS[value >> 13 & 16383] + _LAST[value >> 27]
    return long(value)


def int32(value: Any) -> bytes:
    """A number of 32 bits."""
    encoded = long(value)
    if not -(1 << 31) <= value < 1 << 31:
        raise ValueError(f"{value} has more than 32 bits")
    return encoded


def some(length: int) -> bytes:
    """A length after the branch of a union that isn't null."""
    return b"\2" + long(length)


def double(value: Any) -> bytes:
    """A float; also a whole number, as Python has it."""
    return pack_double(value if isinstance(value, float) else float(_integer(value)))


def boolean(value: Any) -> bytes:
    """True or false, and nothing that only counts as one of them."""
    if value is True:
        return b"\1"
    if value is False:
        return b"\0"
    raise TypeError("not a bool")


def blob(value: Any) -> bytes:
    """The bytes of something like bytes; text and numbers are not."""
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    raise TypeError("not bytes")


def sequence(value: Any) -> list[Any]:
    """A list; also a tuple, but no text."""
    if isinstance(value, list | tuple):
        return list(value)
    raise TypeError("not a list")


def mapping(value: Any) -> dict[Any, Any]:
    """A dict."""
    if isinstance(value, dict):
        return value
    raise TypeError("not a dict")


def expect(value: Any, record_type: type[Any]) -> None:
    """Raises TypeError where `value` isn't a record of this type."""
    if not isinstance(value, record_type):
        raise TypeError(f"not a {record_type.__name__}")


def decimal_writer(precision: int, scale: int) -> Callable[[Any], bytes]:
    """Writes decimals of this precision and scale, each with its length."""
    context = Context(prec=precision, traps=[Inexact, InvalidOperation])
    step = Decimal(1).scaleb(-scale)
    fields = {"precision": precision, "scale": scale}

    def write(value: Any) -> bytes:
        if not isinstance(value, Decimal):
            raise TypeError("not a Decimal")
        try:
            unscaled = int(value.quantize(step, None, context).scaleb(scale, context))
        except (DecimalException, ValueError):
            data: bytes = logical.write_decimal(value, fields)  # says what is wrong
            return INTS[len(data)] + data
        size = (unscaled.bit_length() + 8) // 8
        return INTS[size] + unscaled.to_bytes(size, "big", signed=True)

    return write


def _integer(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    raise TypeError("not an int")
