"""What is believed of an answer, whichever the vendor: an answer may be broken, or hostile."""

from typing import Final

import msgspec

# What reading hostile JSON raises: not JSON, not of this form, no UTF-8, nested without end.
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
# Bytes of a usage object, and characters of a service tier's name, as they are kept.
LONGEST_USAGE: Final = 16 * 1024
LONGEST_TIER: Final = 64
_MOST_TOKENS: Final = 10**9


def possible(*counts: float | None) -> bool:
    """Whether counts of tokens can be true. Those that can't would make a bill that nobody owes."""
    return all(count is None or 0 <= count <= _MOST_TOKENS for count in counts)
