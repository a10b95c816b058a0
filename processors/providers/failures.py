"""The one table from (vendor, HTTP status, the vendor's code or type) to what a failure means and what follows.

Adapters give their vendor's part as data (`ERRORS`), keyed by (status, code): a code of None stands for every code,
a status of None for 4xx and for error events inside a stream. What no vendor's table knows is classed here:

status  | class            | retriable | maybe paid | what follows
3xx     | connection       | yes       | no         | the base URL is wrong, nobody follows (call.py); another may serve
400 422 | invalid_request  | no        | no         | Invalid: the request ends
401     | auth             | yes       | no         | AuthFailed: the key is benched for every model, another may serve
403     | forbidden        | yes       | no         | Forbidden: the key is benched at this deployment, another serves
402     | spend_limit      | no        | no         | SpendLimit: the key is benched, never tried again by itself
404     | no_such_model    | yes       | no         | Invalid here: another deployment or model may serve
413     | context_exceeded | no        | no         | ContextExceeded: a model with a larger window may serve
429     | rate_limited     | yes       | no         | Retry(after): the key is benched for its wait
503 529 | overloaded       | yes       | no         | Busy(model): the deployment waits, with jitter
4xx     | invalid_request  | no        | no         | Invalid
other   | provider_error   | yes       | yes        | Retry: route decides, as it may be paid
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from processors.providers.base import ProviderFailure
from schemas.records import ErrorInfo

_MESSAGE = 500

Follows = Literal[
    "retry",
    "busy",
    "invalid",
    "auth_failed",
    "forbidden",
    "spend_limit",
    "content_filtered",
    "context_exceeded",
]


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """How a failure is treated. `repeatable`: the same call may be made again, as nothing can have been paid."""

    error_class: str
    follows: Follows
    retriable: bool
    maybe_paid: bool
    repeatable: bool = False


RATE_LIMITED: Final = ErrorKind("rate_limited", "retry", True, False, True)
OVERLOADED: Final = ErrorKind("overloaded", "busy", True, False, True)
PROVIDER_ERROR: Final = ErrorKind("provider_error", "retry", True, True)
INVALID_REQUEST: Final = ErrorKind("invalid_request", "invalid", False, False)
NO_SUCH_MODEL: Final = ErrorKind("no_such_model", "invalid", True, False)
AUTH: Final = ErrorKind("auth", "auth_failed", True, False)
FORBIDDEN: Final = ErrorKind("forbidden", "forbidden", True, False)
SPEND_LIMIT: Final = ErrorKind("spend_limit", "spend_limit", False, False)
CONTENT_FILTER: Final = ErrorKind("content_filter", "content_filtered", False, False)
CONTEXT_EXCEEDED: Final = ErrorKind("context_exceeded", "context_exceeded", False, False)

# (HTTP status, the vendor's code or type) -> kind.
Errors = Mapping[tuple[int | None, str | None], ErrorKind]

# What every vendor and most compatible servers mean by these; a vendor's own table goes before.
COMMON: Final[Errors] = {
    (400, None): INVALID_REQUEST,
    (401, None): AUTH,
    (402, None): SPEND_LIMIT,
    (403, None): FORBIDDEN,
    (404, None): NO_SUCH_MODEL,
    (408, None): PROVIDER_ERROR,
    (413, None): CONTEXT_EXCEEDED,
    (422, None): INVALID_REQUEST,
    (429, None): RATE_LIMITED,
    (503, None): OVERLOADED,
    (529, None): OVERLOADED,
    (None, "context_length_exceeded"): CONTEXT_EXCEEDED,
    (None, "content_filter"): CONTENT_FILTER,
    (None, "content_policy_violation"): CONTENT_FILTER,
    (None, "insufficient_quota"): SPEND_LIMIT,
    (None, "model_not_found"): NO_SUCH_MODEL,
    (None, "invalid_api_key"): AUTH,
}
_NONE: Final[Errors] = {}
Codes = str | tuple[str | None, ...] | None


def kind_of(status: int | None, codes: Codes, errors: Errors = _NONE) -> ErrorKind:
    """How an answer with this error status and vendor code is treated; the first of several codes that is known.

    A status of None stands for an error event inside a stream.
    """
    told = codes if isinstance(codes, tuple) else (codes,)
    general = status is None or 400 <= status < 500
    for table in (errors, COMMON):
        for code in told:
            if code is None:
                continue
            kind = table.get((status, code)) or (table.get((None, code)) if general else None)
            if kind is not None:
                return kind
    kind = errors.get((status, None)) or COMMON.get((status, None))
    if kind is not None:
        return kind
    return INVALID_REQUEST if status is not None and 400 <= status < 500 else PROVIDER_ERROR


def http_failure(
    status: int, codes: Codes, message: str, wait_ms: int | None, errors: Errors = _NONE
) -> ProviderFailure:
    """The failure that an answer with an error status means; `errors` is the vendor's table."""
    kind = kind_of(status, codes, errors)
    return _failure(kind, f"HTTP {status}: {message}", wait_ms)


def stream_failure(
    codes: Codes, message: str, errors: Errors = _NONE, wait_ms: int | None = None
) -> ProviderFailure:
    """The failure that an error event inside a 200 means: as its code says, but maybe paid and never repeated."""
    kind = replace(kind_of(None, codes, errors), maybe_paid=True, repeatable=False)
    code = next((c for c in (codes if isinstance(codes, tuple) else (codes,)) if c), None)
    return _failure(kind, f"error inside the stream ({code}): {message}", wait_ms)


def _failure(kind: ErrorKind, message: str, wait_ms: int | None) -> ProviderFailure:
    info = ErrorInfo(
        error_class=kind.error_class,
        message=message[:_MESSAGE],
        retriable=kind.retriable,
        maybe_paid=kind.maybe_paid,
        retry_after_ms=wait_ms,
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
