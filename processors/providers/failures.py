"""The one table from an HTTP status or a vendor's error code to an `ErrorInfo`.

status  | class            | retriable | maybe paid | repeated inside call
400 422 | invalid_request  | no        | no         | no      (or the class of a known code)
401 403 | auth             | yes       | no         | no      (another provider may serve)
404     | no_such_model    | yes       | no         | no
413     | context_exceeded | no        | no         | no
429     | rate_limited     | yes       | no         | yes     (not when the quota is used up)
503 529 | overloaded       | yes       | no         | yes
4xx     | invalid_request  | no        | no         | no
other   | provider_error   | yes       | yes        | no
"""

import email.utils
from dataclasses import dataclass

from processors.providers.base import ProviderFailure
from schemas.records import ErrorInfo

_MESSAGE = 500
_LONGEST_WAIT_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Kind:
    """How a failure is treated."""

    error_class: str
    retriable: bool
    maybe_paid: bool
    repeatable: bool = False


_INVALID = Kind("invalid_request", False, False)
_PROVIDER = Kind("provider_error", True, True)
_CONTEXT = Kind("context_exceeded", False, False)
_STATUS = {
    401: Kind("auth", True, False),
    403: Kind("auth", True, False),
    404: Kind("no_such_model", True, False),
    408: _PROVIDER,
    413: _CONTEXT,
    429: Kind("rate_limited", True, False, True),
    503: Kind("overloaded", True, False, True),
    529: Kind("overloaded", True, False, True),
}
_CODE = {
    "context_length_exceeded": _CONTEXT,
    "content_filter": Kind("content_filter", False, False),
    "content_policy_violation": Kind("content_filter", False, False),
    "insufficient_quota": Kind("rate_limited", True, False),
    "model_not_found": Kind("no_such_model", True, False),
    "invalid_api_key": Kind("auth", True, False),
}


def kind_of(status: int, code: str | None) -> Kind:
    """How an answer with this error status and vendor code is treated."""
    if code in _CODE and 400 <= status < 500:
        return _CODE[code]
    if status in _STATUS:
        return _STATUS[status]
    return _INVALID if 400 <= status < 500 else _PROVIDER


def http_failure(status: int, code: str | None, message: str, retry_after_ms: int | None) -> ProviderFailure:
    """The failure that an answer with an error status means."""
    kind = kind_of(status, code)
    info = ErrorInfo(
        error_class=kind.error_class,
        message=f"HTTP {status}: {message[:_MESSAGE]}",
        retriable=kind.retriable,
        maybe_paid=kind.maybe_paid,
        retry_after_ms=retry_after_ms,
    )
    return ProviderFailure(info, repeatable=kind.repeatable)


def failure(
    error_class: str, message: str, *, retriable: bool = True, maybe_paid: bool = True
) -> ProviderFailure:
    """A failure of a call that had begun: paid for as far as anyone knows, so never repeated inside call."""
    info = ErrorInfo(
        error_class=error_class, message=message[:_MESSAGE], retriable=retriable, maybe_paid=maybe_paid
    )
    return ProviderFailure(info)


def not_sent(message: str) -> ProviderFailure:
    """The connection failed before the request was sent: nothing can have been paid."""
    info = ErrorInfo(error_class="connection", message=message[:_MESSAGE], retriable=True, maybe_paid=False)
    return ProviderFailure(info, repeatable=True)


def retry_after_ms(headers: dict[str, str], now_ms: int) -> int | None:
    """The wait a provider asks for, ms: from `retry-after-ms`, or `retry-after` (seconds or an HTTP date)."""
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
    return None


def _until(http_date: str, now_ms: int) -> float:
    try:
        moment = email.utils.parsedate_to_datetime(http_date)
        return max(0.0, moment.timestamp() - now_ms / 1000)
    except (ValueError, OverflowError):  # a date beyond the calendar, a zone of years
        return -1
