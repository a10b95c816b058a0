"""The period of a report, as a person gives it."""

import math
from datetime import UTC, datetime, timedelta
from typing import Final

from sinks.reports import Period

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
# The steps of a series: what a clock shows, and no more of them than a line of a terminal holds.
_STEPS_S: Final = (60, 300, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 604800)
_MOST_STEPS: Final = 32


class BadPeriod(ValueError):
    """A time that can't be read, or a period that holds nothing; the message says what to give."""


def moment(text: str | datetime, now: datetime) -> datetime:
    """A time in UTC from `7d`, `12h` (that long before `now`), `2026-11-01` or `2026-11-01T08:30`.

    What names no zone is UTC. Raises BadPeriod.
    """
    if isinstance(text, datetime):
        parsed = text
    elif text[:-1].isdecimal() and text[-1:] in _UNITS:
        try:
            return now - timedelta(**{_UNITS[text[-1]]: int(text[:-1])})
        except OverflowError:
            raise BadPeriod(f"{text!r} is too long ago") from None
    else:
        try:
            parsed = datetime.fromisoformat(text)
        except ValueError:
            message = f"{text!r} is no time: give a duration such as 12h or 7d, or a date such as 2026-11-01"
            raise BadPeriod(message) from None
    return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def period(since: str | datetime, until: str | datetime | None, now: datetime) -> Period:
    """[since, until), `until` being now where it is None. Raises BadPeriod where nothing lies between them."""
    begin, end = moment(since, now), now if until is None else moment(until, now)
    if begin >= end:
        raise BadPeriod(
            f"nothing lies between {begin.isoformat()} and {end.isoformat()}: since comes before until"
        )
    seconds = (end - begin).total_seconds()
    step = next((s for s in _STEPS_S if seconds / s <= _MOST_STEPS), None)
    step = step or math.ceil(seconds / _MOST_STEPS / 86400) * 86400
    return Period(round(begin.timestamp() * 1000), round(end.timestamp() * 1000), step)


def steps(period: Period) -> int:
    """How many steps the series has, at most."""
    return -(-(period.until - period.since) // (period.step_s * 1000))
