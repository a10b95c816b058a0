"""Which of ClickHouse's errors are about the rows themselves. All others are waited out: nothing is dropped.

A code that isn't listed pauses the sink rather than bury rows that may be right; the log and the metrics show it.
"""

import asyncio
import struct
from typing import Final

import aiohttp
from clickhouse_connect.driver.exceptions import ClickHouseError, Error

from sinks.store import LeaseOver, Refused, StoreError, Unavailable

_THROWN: Final = 395  # FUNCTION_THROW_IF_VALUE_IS_NON_ZERO: a table's own check
_LEASE: Final = "the lease of this insert is over"

ABOUT_ROWS: Final = {
    6: "CANNOT_PARSE_TEXT",
    26: "CANNOT_PARSE_QUOTED_STRING",
    27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
    32: "ATTEMPT_TO_READ_AFTER_EOF",
    33: "CANNOT_READ_ALL_DATA",
    38: "CANNOT_PARSE_DATE",
    41: "CANNOT_PARSE_DATETIME",
    69: "ARGUMENT_OUT_OF_BOUND",
    70: "CANNOT_CONVERT_TYPE",
    72: "CANNOT_PARSE_NUMBER",
    117: "INCORRECT_DATA",
    128: "TOO_LARGE_ARRAY_SIZE",
    131: "TOO_LARGE_STRING_SIZE",
    321: "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
    349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
    407: "DECIMAL_OVERFLOW",
    469: "VIOLATED_CONSTRAINT",
}

NETWORK: Final = (ClickHouseError, aiohttp.ClientError, asyncio.TimeoutError, OSError)
"""What a request may raise."""

SERIALIZING: Final = (TypeError, ValueError, ArithmeticError, AttributeError, struct.error, ClickHouseError)
"""What making a block may raise for a value that doesn't fit its column."""


def translate(error: Exception) -> StoreError:
    """The store's error for one of NETWORK."""
    code = error.code if isinstance(error, Error) else None
    text = f"{type(error).__name__}: {error}"[:500]
    if code == _THROWN and _LEASE in str(error):
        return LeaseOver(text, code)
    if code in ABOUT_ROWS:
        return Refused(text, code)
    return Unavailable(text, code)


def unserializable(error: Exception) -> Refused:
    """The store's error for one of SERIALIZING."""
    return Refused(f"a value doesn't fit its column: {type(error).__name__}: {error}"[:500])
