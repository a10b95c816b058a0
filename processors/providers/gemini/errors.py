"""What Google's errors mean: the status names of its APIs, the reasons in their details, the wait they ask for.

A key that isn't valid comes as 400, a wait in the body instead of a header, and one status (RESOURCE_EXHAUSTED) stands
for a rate and for a day's quota: the details tell them apart.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from processors.providers.bounds import UNREADABLE
from processors.providers.failures import (
    AUTH,
    CONTEXT_EXCEEDED,
    FORBIDDEN,
    INVALID_REQUEST,
    NO_SUCH_MODEL,
    OVERLOADED,
    PROVIDER_ERROR,
    RATE_LIMITED,
    SPEND_LIMIT,
    Errors,
)

_TOO_LONG: Final = "context_length_exceeded"
_USED_UP: Final = "quota_used_up"
_LEAKED: Final = "key_leaked"
_MESSAGE = 300
_LONGEST_WAIT_S = 86_400.0

ERRORS: Final[Errors] = {
    (None, _TOO_LONG): CONTEXT_EXCEEDED,
    (None, _USED_UP): SPEND_LIMIT,
    (None, "API_KEY_INVALID"): AUTH,
    (None, "BILLING_DISABLED"): SPEND_LIMIT,
    (402, "RESOURCE_EXHAUSTED"): SPEND_LIMIT,
    (None, "RESOURCE_EXHAUSTED"): RATE_LIMITED,
    (None, "INVALID_ARGUMENT"): INVALID_REQUEST,
    (None, "OUT_OF_RANGE"): INVALID_REQUEST,
    # The account isn't served from this place, or not without a paid plan: another deployment may be.
    (None, "FAILED_PRECONDITION"): AUTH,
    # The key or its project as a whole, by the reason in the details; without one, this model alone.
    (None, _LEAKED): AUTH,
    (None, "API_KEY_SERVICE_BLOCKED"): AUTH,
    (None, "API_KEY_IP_ADDRESS_BLOCKED"): AUTH,
    (None, "SERVICE_DISABLED"): AUTH,
    (None, "CONSUMER_SUSPENDED"): AUTH,
    (None, "CONSUMER_INVALID"): AUTH,
    (None, "PERMISSION_DENIED"): FORBIDDEN,
    (None, "UNAUTHENTICATED"): AUTH,
    (None, "NOT_FOUND"): NO_SUCH_MODEL,
    (None, "CANCELLED"): PROVIDER_ERROR,
    (None, "ABORTED"): PROVIDER_ERROR,
    (None, "INTERNAL"): PROVIDER_ERROR,
    (None, "DEADLINE_EXCEEDED"): PROVIDER_ERROR,
    (None, "UNAVAILABLE"): OVERLOADED,
}


@dataclass(frozen=True, slots=True)
class SeenError:
    """An error's codes, the most telling first; its message; the wait it asks for, ms."""

    codes: tuple[str | None, ...]
    message: str
    wait_ms: int | None = None


class _Violation(msgspec.Struct, rename="camel"):
    quota_id: str | None = None


class _Detail(msgspec.Struct, rename="camel"):
    reason: str | None = None
    retry_delay: str | None = None
    violations: list[_Violation] | None = None


class _Error(msgspec.Struct):
    message: str | None = None
    status: str | None = None
    details: list[_Detail] | None = None


class _Bare(msgspec.Struct):
    message: str | None = None
    status: str | None = None


class _Body(msgspec.Struct):
    error: msgspec.Raw


_body_decoder = msgspec.json.Decoder(_Body | list[_Body])
_error_decoder = msgspec.json.Decoder(_Error)
_bare_decoder = msgspec.json.Decoder(_Bare)


def error_of(body: bytes) -> SeenError:
    """The error in a body: an object, or a list of one as streams have it."""
    try:
        seen = _body_decoder.decode(body)
    except UNREADABLE:
        return SeenError((), _cut(body))
    first = (seen[0] if seen else None) if isinstance(seen, list) else seen
    return read_error(bytes(first.error)) if first is not None else SeenError((), _cut(body))


def read_error(raw: bytes) -> SeenError:
    """The value of an `error` field."""
    error: _Error
    try:
        error = _error_decoder.decode(raw)
    except UNREADABLE:
        try:
            bare = _bare_decoder.decode(raw)
        except UNREADABLE:
            return SeenError((), _cut(raw))
        error = _Error(bare.message, bare.status)
    details = error.details or []
    message = error.message or "no message"
    codes = [detail.reason for detail in details if detail.reason]
    if error.status:
        codes.append(error.status)
    if _too_long(message):
        codes.insert(0, _TOO_LONG)
    if "reported as leaked" in message:
        codes.insert(0, _LEAKED)
    if error.status == "RESOURCE_EXHAUSTED" and _used_up(message, details):
        # Its wait is that of another limit: what is used up for the day isn't there again after it.
        return SeenError((_USED_UP, *codes), message)
    return SeenError(tuple(codes), message, _wait_ms(details))


def _too_long(message: str) -> bool:
    return "token count" in message and "exceeds the maximum number of tokens" in message


def _used_up(message: str, details: list[_Detail]) -> bool:
    """Whether waiting for a minute doesn't help: a day's quota, or a quota of nothing."""
    violations = [one for detail in details for one in detail.violations or ()]
    return any("PerDay" in (one.quota_id or "") for one in violations) or "limit: 0" in message


def _wait_ms(details: list[_Detail]) -> int | None:
    """The longest `retryDelay`: decimal seconds such as `45.837906927s`."""
    waits: list[float] = []
    for detail in details:
        text = detail.retry_delay
        if text is None or not text.endswith("s"):
            continue
        try:
            seconds = float(text[:-1])
        except ValueError:
            continue
        if 0 <= seconds <= _LONGEST_WAIT_S:
            waits.append(seconds)
    return int(max(waits) * 1000) if waits else None


def _cut(body: bytes) -> str:
    return body[:_MESSAGE].decode(errors="replace")
