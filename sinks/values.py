"""Values as columns can hold them. What orders, partitions or counts must fit; what a caller chose may be unknown."""

from collections.abc import Iterable
from decimal import Decimal
from math import isfinite
from typing import Any, Final

import msgspec

from schemas.signals import Invalid

EARLIEST_MS: Final = 946_684_800_000  # 2000-01-01
LATEST_MS: Final = 7_258_118_400_000  # 2200-01-01
MOST_TOKENS: Final = 2**63 - 1
_MOST_COUNT: Final = 2**32 - 1
_MOST_MONEY: Final = Decimal(10) ** 9


def time(name: str, ms: int) -> int:
    """`ms`. Raises Invalid where no column holds it."""
    if EARLIEST_MS <= ms < LATEST_MS:
        return ms
    raise Invalid("out_of_range", f"{name} is {ms}: give milliseconds since the epoch, from 2000 to 2199")


def time_or_null(ms: int | None) -> int | None:
    """`ms`, None where no column holds it."""
    return ms if ms is not None and EARLIEST_MS <= ms < LATEST_MS else None


def count(name: str, value: int) -> int:
    """`value`. Raises Invalid where it is no UInt32."""
    return whole(name, value, _MOST_COUNT)


def whole(name: str, value: int, most: int) -> int:
    """`value`. Raises Invalid where it isn't from 0 to `most`."""
    if 0 <= value <= most:
        return value
    raise Invalid("out_of_range", f"{name} is {value}: give a whole number from 0 to {most}")


def tokens(counts: Iterable[int | None]) -> None:
    """Raises Invalid where one of `counts` is no count."""
    for number in counts:
        if number is not None and not 0 <= number <= MOST_TOKENS:
            raise Invalid("out_of_range", f"usage counts {number} tokens: a count is not negative")


def money(cost: Decimal | None) -> Decimal | None:
    """`cost`, US dollars. Raises Invalid where no column holds it."""
    if cost is None or (cost.is_finite() and abs(cost) < _MOST_MONEY):
        return cost
    raise Invalid("out_of_range", f"cost is {cost}: give less than {_MOST_MONEY} US dollars")


def number_or_null(value: float | None) -> float | None:
    """`value`, None where it is no number: one NaN would make every average NaN."""
    return value if value is not None and isfinite(value) else None


class Details:
    """The details of an audit event, read leniently: what is missing or of another type is not given.

    The text itself is kept in the row of the event, so nothing is lost by that.
    """

    def __init__(self, text: str) -> None:
        try:
            found = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):  # the latter for thousands of nested brackets
            found = None
        self._found: dict[str, Any] = found if isinstance(found, dict) else {}

    def text(self, name: str) -> str:
        value = self._found.get(name)
        return value if isinstance(value, str) else ""

    def texts(self, name: str) -> list[str]:
        value = self._found.get(name)
        return [v for v in value if isinstance(v, str)] if isinstance(value, list) else []

    def codes(self, name: str) -> list[str]:
        """The codes of a list of problems; a problem may be its code alone."""
        value = self._found.get(name)
        items = value if isinstance(value, list) else []
        codes = [v.get("code") if isinstance(v, dict) else v for v in items]
        return [c for c in codes if isinstance(c, str)]

    def whole(self, name: str, least: int = -(2**63), most: int = 2**63 - 1) -> int | None:
        value = self._found.get(name)
        return value if type(value) is int and least <= value <= most else None

    def money(self, name: str) -> Decimal | None:
        value = self._found.get(name)
        if type(value) not in (str, int, float):
            return None
        try:
            cost = Decimal(str(value))
        except ArithmeticError:
            return None
        return cost if cost.is_finite() and abs(cost) < _MOST_MONEY else None
