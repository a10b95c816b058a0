"""Bounded logical types for fastavro: decimals whose length is checked, records that are counted.

fastavro looks logical types up in two global tables; ours have names of their own, so nothing else changes.
"""

import threading
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from fastavro.read import LOGICAL_READERS
from fastavro.write import LOGICAL_WRITERS

DECIMAL: Final = "sluice-decimal"
COUNTED: Final = "sluice-counted"
MAX_RECORDS: Final = 20_000
"""Records (parts, messages, headers ...) that one event may hold."""

MAX_DECIMAL_BYTES: Final = 16


class TooLarge(ValueError):
    """An event holds more than is accepted."""


class TooManyRecords(TooLarge):
    """An event holds more records than MAX_RECORDS."""

    def __init__(self) -> None:
        super().__init__(f"more than {MAX_RECORDS} records in one event")


class _Counter(threading.local):
    left = MAX_RECORDS


_counter = _Counter()


def start_event() -> None:
    """Begin to count anew: called before each event is read."""
    _counter.left = MAX_RECORDS


def _count(record: Any, _writer: Any, _reader: Any = None) -> Any:
    _counter.left -= 1
    if _counter.left < 0:
        raise TooManyRecords
    return record


def _read_decimal(data: bytes, writer: Mapping[str, Any] | None, _reader: Any = None) -> Decimal:
    if len(data) > MAX_DECIMAL_BYTES:
        raise TooLarge(f"a decimal of {len(data)} bytes; at most {MAX_DECIMAL_BYTES} are read")
    unscaled = int.from_bytes(data, "big", signed=True)
    sign, digits = int(unscaled < 0), str(abs(unscaled))
    return Decimal((sign, tuple(map(int, digits)), -int((writer or {}).get("scale", 0))))


def write_decimal(value: Any, schema: Mapping[str, Any]) -> Any:
    """`value` as two's complement bytes. Raises ValueError where it doesn't fit precision and scale."""
    if not isinstance(value, Decimal):
        return value
    precision, scale = int(schema["precision"]), int(schema.get("scale", 0))
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise ValueError(f"{value} is not a finite decimal")
    if not any(digits):
        return b"\0"
    shift = exponent + scale
    if shift < 0 and any(digits[shift:]):
        raise ValueError(f"{value} has more than {scale} decimal places: round it before it is encoded")
    if len(digits) + shift > precision:
        raise ValueError(f"{value} has more than {precision - scale} digits before the point")
    whole = int("".join(map(str, digits)))
    unscaled = whole * 10**shift if shift >= 0 else whole // 10**-shift
    return (-unscaled if sign else unscaled).to_bytes((unscaled.bit_length() + 8) // 8, "big", signed=True)


LOGICAL_READERS[f"bytes-{DECIMAL}"] = _read_decimal
LOGICAL_WRITERS[f"bytes-{DECIMAL}"] = write_decimal
LOGICAL_READERS[f"record-{COUNTED}"] = _count
