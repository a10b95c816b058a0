"""The wait that a provider asks for, from the headers of its answer.

In this order: `retry-after-ms`, `retry-after` (seconds or an HTTP date), then the moments at which used-up limits
are free again: `anthropic-ratelimit-<limit>-reset` (RFC 3339), `x-ratelimit-reset-<limit>` (a duration such as
`6m0s` or `120ms`, or seconds) and `x-ratelimit-reset` (seconds or milliseconds since the epoch).
"""

import datetime
import email.utils
import re
from collections.abc import Iterator, Mapping
from typing import Final

_LONGEST_WAIT_S: Final = 86_400.0
_ANTHROPIC: Final = "anthropic-ratelimit-"
_COMMON: Final = "x-ratelimit-"
_DURATION: Final = re.compile(
    r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?"
)
_UNITS_S: Final = (86_400.0, 3600.0, 60.0, 1.0, 0.001)
_SINCE_EPOCH: Final = 10**9


def retry_after_ms(headers: Mapping[str, str], now_ms: int) -> int | None:
    """The wait, ms; None where the answer asks for none, or for more than a day. Header names are in lower case."""
    for name, factor in (("retry-after-ms", 1), ("retry-after", 1000)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * factor / 1000
        except ValueError:
            seconds = _until(value, now_ms)
        if 0 <= seconds <= _LONGEST_WAIT_S:
            return int(seconds * 1000)
    return _reset_ms(headers, now_ms)


def _reset_ms(headers: Mapping[str, str], now_ms: int) -> int | None:
    """Until every limit that is used up is free again; where nothing says which is, until all told are."""
    used_up: list[float] = []
    untold: list[float] = []
    for seconds, left in _resets(headers, now_ms):
        if not 0 <= seconds <= _LONGEST_WAIT_S:
            continue
        if left is None:
            untold.append(seconds)
        elif left <= 0:
            used_up.append(seconds)
    waits = used_up or untold
    return int(max(waits) * 1000) if waits else None


def _resets(headers: Mapping[str, str], now_ms: int) -> Iterator[tuple[float, float | None]]:
    """(seconds until a limit is free, how much of it is left) for each limit that is told."""
    for name, value in headers.items():
        if name.startswith(_ANTHROPIC) and name.endswith("-reset"):
            yield _at(value, now_ms), _number(headers.get(name[: -len("reset")] + "remaining"))
        elif name == _COMMON + "reset":
            yield _epoch(value, now_ms), _number(headers.get(_COMMON + "remaining"))
        elif name.startswith(_COMMON + "reset-"):
            limit = name[len(_COMMON + "reset-") :]
            yield _duration(value), _number(headers.get(f"{_COMMON}remaining-{limit}"))


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _duration(text: str) -> float:
    """Seconds of `1h2m3s`, `120ms` or `7.66`; -1 where it is none."""
    plain = _number(text)
    if plain is not None:
        return plain
    found = _DURATION.fullmatch(text.strip())
    if not text.strip() or found is None:
        return -1
    return sum(float(n) * unit for n, unit in zip(found.groups(), _UNITS_S, strict=True) if n is not None)


def _epoch(text: str, now_ms: int) -> float:
    """Seconds until a moment in seconds or milliseconds since the epoch; a small number is a duration itself."""
    told = _number(text)
    if told is None:
        return _duration(text)
    if told < _SINCE_EPOCH:
        return told
    moment_s = told / 1000 if told > _SINCE_EPOCH * 100 else told
    return max(0.0, moment_s - now_ms / 1000)


def _at(text: str, now_ms: int) -> float:
    """Seconds until a moment of RFC 3339; -1 where it is none."""
    try:
        moment = datetime.datetime.fromisoformat(text)
        return max(0.0, moment.timestamp() - now_ms / 1000) if moment.tzinfo else -1
    except (ValueError, OverflowError):
        return -1


def _until(http_date: str, now_ms: int) -> float:
    try:
        moment = email.utils.parsedate_to_datetime(http_date)
        return max(0.0, moment.timestamp() - now_ms / 1000)
    except (ValueError, OverflowError):  # a date beyond the calendar, a zone of years
        return -1
