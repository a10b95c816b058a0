"""What follows an outcome of a request's last attempt, as a pure decision.

| outcome                                                    | next                                        |
|------------------------------------------------------------|---------------------------------------------|
| succeeded, cancelled, expired                              | end with that status                        |
| returned (not started)                                     | another attempt, not counted                |
| unknown                                                    | on_unknown: another attempt, end, quarantine|
| failed: invalid_request, content_filter, result_too_large, |                                             |
|   content_refused                                          | end                                         |
| failed: auth, forbidden, no_such_model                     | the next candidate                          |
| failed: context_exceeded                                   | the next candidate with a larger window     |
| failed, retriable                                          | the same model after a backoff              |
| - for the second time in a row of one model                | the next candidate, where there is another  |
| - with a retry_after_ms over 10 s                          | the next candidate, where there is another  |
| failed otherwise (spend_limit, unsupported_parameter, ...) | the next candidate                          |

Another attempt needs a deadline ahead, a counted attempt left and a candidate left; else the request ends.
The next candidate is called without a wait. Where the wait would outlast the deadline, the model is ruled out.
"""

from dataclasses import dataclass
from typing import Final, Literal

from processors.route.open_request import OpenRequest
from schemas.config import Config
from schemas.names import OnUnknown
from schemas.records import ErrorInfo, Outcome

ENDS_AT_ONCE: Final = frozenset({"invalid_request", "content_filter", "result_too_large", "content_refused"})
ELSEWHERE: Final = frozenset({"auth", "forbidden", "no_such_model", "context_exceeded"})
UNKNOWN_OUTCOME: Final = "unknown_outcome"
_FIRST_WAIT_MS: Final = 500
_LONGEST_WAIT_MS: Final = 30_000
_FREE_RETURNS: Final = 3
_FAILURES_IN_A_ROW: Final = 2
_LONG_RETRY_AFTER_MS: Final = 10_000

# Where another attempt goes: to the same model; to the next one, the same only where no other is healthy; or to the
# best candidate left.
Place = Literal["same", "next", "best"]


@dataclass(frozen=True, slots=True)
class End:
    """The request ends."""

    status: Literal["failed", "expired"]
    error_class: str
    message: str


@dataclass(frozen=True, slots=True)
class Again:
    """Another attempt; at the same model not before a wait of so many ms."""

    place: Place
    wait_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class Quarantine:
    """An operator decides."""


def on_unknown(record: OpenRequest, config: Config) -> OnUnknown:
    """What to do about an attempt of unknown end: the tenant's word, else the model's, else the default."""
    tenant = config.tenants.get(record.tenant)
    model = config.models.get(record.model or "")
    told = (tenant.on_unknown if tenant else None) or (model.on_unknown if model else None)
    return told or config.defaults.on_unknown


def next_step(record: OpenRequest, outcome: Outcome, config: Config, now: int) -> End | Again | Quarantine:
    """Decide after an outcome that didn't end the request by itself.

    Marks in `record` the candidates that can't serve the request, counts failures that may pass, and doesn't count
    an attempt returned.
    """
    message = f"the attempt ended as {outcome.status}"
    error = outcome.error or ErrorInfo(error_class="internal", message=message)
    if outcome.status == "unknown":
        choice = on_unknown(record, config)
        if choice == "quarantine":
            return Quarantine()
        if choice == "fail":
            return End("failed", UNKNOWN_OUTCOME, error.message)
        error = ErrorInfo(error_class=UNKNOWN_OUTCOME, message=error.message, retriable=True)
    if outcome.status == "failed":
        if error.error_class in ENDS_AT_ONCE:
            return End("failed", error.error_class, error.message)
        _rule_out(record, error, config)
    return _another(record, outcome, error, config, now)


def _rule_out(record: OpenRequest, error: ErrorInfo, config: Config) -> None:
    if error.retriable and error.error_class not in ELSEWHERE:
        record.failures += 1
        return
    record.ruled_out |= 1 << record.current
    if error.error_class == "context_exceeded":
        windows = [config.models[name].context_window for name in record.candidates]
        for i, window in enumerate(windows):
            if window <= windows[record.current]:
                record.ruled_out |= 1 << i


def _another(
    record: OpenRequest, outcome: Outcome, error: ErrorInfo, config: Config, now: int
) -> End | Again:
    if now >= record.deadline_at:
        return End("expired", "deadline_exceeded", f"the deadline passed; the last attempt: {error.message}")
    if outcome.status == "returned":
        record.counted -= 1
        returns = record.attempt - record.counted - _FREE_RETURNS
        wait = backoff_ms(returns, outcome.attempt_id) if returns > 0 else 0
        return Again("best", min(wait, max(0, record.deadline_at - now - 1)), error.error_class)
    left = record.left()
    if record.counted >= config.defaults.max_attempts or not left:
        return End("failed", error.error_class, error.message)
    if outcome.status == "unknown":
        return Again("same", 0, error.error_class)
    if record.ruled_out >> record.current & 1:
        return Again("best", 0, error.error_class)
    return _later(record, outcome, error, left, now)


def _later(record: OpenRequest, outcome: Outcome, error: ErrorInfo, left: list[str], now: int) -> End | Again:
    """After a failure that may pass: wait for the model, unless another can take its place."""
    wait = max(backoff_ms(record.counted, outcome.attempt_id), error.retry_after_ms or 0)
    if error.retry_after_ms:
        wait += backoff_ms(1, outcome.attempt_id)
    if now + wait >= record.deadline_at:
        if len(left) == 1:
            message = f"{error.message}; the wait before a retry outlasts the deadline"
            return End("failed", error.error_class, message)
        record.ruled_out |= 1 << record.current
        return Again("best", 0, error.error_class)
    moves_on = record.failures >= _FAILURES_IN_A_ROW or (error.retry_after_ms or 0) > _LONG_RETRY_AFTER_MS
    return Again("next" if moves_on else "same", wait, error.error_class)


def backoff_ms(failures: int, attempt_id: str) -> int:
    """Exponential with jitter: half fixed, half from the attempt's id, so that a repeat waits as long."""
    longest = min(_LONGEST_WAIT_MS, _FIRST_WAIT_MS << min(failures - 1, 10))
    return longest // 2 + longest // 2 * int(attempt_id[:4], 16) // 0xFFFF
