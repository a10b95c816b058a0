"""The end of a request: exactly one terminal result, whatever arrives later."""

from processors.route.draft import STAGE, Draft, result_of
from processors.route.open_request import FINAL, OpenRequest
from schemas import ids
from schemas.records import Outcome, Problem, ResultEvent, Timings


def finalise(
    draft: Draft,
    key: bytes,
    record: OpenRequest,
    status: str,
    *,
    error_class: str | None = None,
    message: str | None = None,
    outcome: Outcome | None = None,
    problems: list[Problem] | None = None,
    actor: str = STAGE,
    retention_days: int | None = None,
) -> None:
    """Publish the terminal result of a record that isn't final yet. Attempts not settled stay on it.

    `retention_days`: how long the texts of a success are kept.
    """
    event_id = ids.event_id(record.tenant, record.request_id, "result")
    result = result_of(record, "terminal", status, event_id, draft.now)
    result.error_class, result.error_message = error_class, message
    result.problems, result.retention_days = problems or [], retention_days
    result.timings = Timings(
        accepted_at=record.accepted_at,
        issued_at=record.accepted_at + record.issued_ms if record.attempt else None,
        completed_at=draft.now,
    )
    result.model = record.model
    if outcome is not None:
        _tell_outcome(result, outcome, record)
    draft.result(result)
    record.status = FINAL
    _audit_end(draft, record, status, error_class, message, outcome, actor)
    draft.keep(key, record)


def _tell_outcome(result: ResultEvent, outcome: Outcome, record: OpenRequest) -> None:
    """What the attempt that ended the request gave. Its output is shown for a success only."""
    result.timings = outcome.timings
    result.model, result.provider = outcome.model, outcome.provider
    result.deployment, result.vendor_model = outcome.deployment, outcome.vendor_model
    result.finish_reason, result.finish_reason_raw = outcome.finish_reason, outcome.finish_reason_raw
    result.dropped = outcome.dropped
    result.usage, result.cost = outcome.usage, outcome.cost
    result.cost_basis, result.price_version = outcome.cost_basis, outcome.price_version
    if result.status == "succeeded":
        result.output = outcome.output
        texts = [part.text for part in outcome.output if part.type == "text" and part.text is not None]
        result.text = "".join(texts) if texts else None


def _audit_end(
    draft: Draft,
    record: OpenRequest,
    status: str,
    error_class: str | None,
    message: str | None,
    outcome: Outcome | None,
    actor: str,
) -> None:
    details: dict[str, object] = {"message": message} if message else {}
    if outcome is not None and outcome.dropped:
        details["dropped"] = outcome.dropped
    draft.audit_request(
        "finalised",
        record,
        attempt=outcome.attempt if outcome else record.attempt or None,
        model=outcome.model if outcome else None,
        status=status,
        reason=error_class,
        actor=actor,
        details=details,
    )
