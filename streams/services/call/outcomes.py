"""The outcome of a task, made from what the call service holds of it. Pure."""

import msgspec

from processors.pricing.book import book_of
from processors.pricing.cost import NO_COST, Cost, cost_of, tier_of
from processors.providers.base import Completion, ProviderFailure, told_or_estimated
from processors.providers.watch import CallStopped
from schemas import ids
from schemas.config import Deployment
from schemas.names import OutcomeStatus
from schemas.records import ErrorInfo, Outcome, Timings, Usage
from streams.services.call.item import Item

_NEVER_CALLED = {
    "expired": ("timeout_total", "the deadline passed before the provider was called"),
    "cancelled": ("cancelled", "cancelled before the provider was called"),
}


def _outcome(
    item: Item,
    status: OutcomeStatus,
    now_ms: int,
    *,
    completion: Completion | None = None,
    usage: Usage | None = None,
    error: ErrorInfo | None = None,
) -> Outcome:
    task = item.task
    place = _place(item)
    cost = _cost(item, place, usage, now_ms)
    ordinal = 1 if status == "unknown" else 0
    return Outcome(
        event_id=ids.event_id(task.tenant, task.request_id, "outcome", task.attempt, item.tries, ordinal),
        request_id=task.request_id,
        tenant=task.tenant,
        attempt=task.attempt,
        attempt_id=task.attempt_id,
        tries=item.tries,
        model=task.model,
        status=status,
        config_version=task.config_version,
        timings=_timings(item, now_ms),
        provider=place.provider if place else None,
        deployment=place.id if place else None,
        vendor_model=(completion and completion.vendor_model) or (place.vendor_model if place else None),
        vendor_response_id=completion.vendor_response_id if completion else None,
        finish_reason=completion.finish_reason if completion else None,
        finish_reason_raw=completion.finish_reason_raw if completion else None,
        output=completion.parts if completion else [],
        usage=usage,
        cost=cost.dollars,
        cost_basis=cost.basis,
        price_version=cost.version,
        error=error,
        task=None if status == "succeeded" else task,
        dropped=list(item.dropped),
    )


def _place(item: Item) -> Deployment | None:
    """The deployment that was called; before a call the only one that can be."""
    if item.target is not None:
        return item.target.deployment
    model = item.config.models.get(item.task.model)
    return model.places[0] if model is not None and len(model.places) == 1 else None


def _cost(item: Item, place: Deployment | None, usage: Usage | None, now_ms: int) -> Cost:
    """What the call cost, at the prices of the time when it began."""
    if usage is None or place is None:
        return NO_COST
    task, began = item.task, item.started_at or now_ms
    # No longer than the time limit, which ends it: so much was reserved.
    seconds = min((now_ms - began) / 1000, item.config.models[task.model].timeouts.total_s)
    prices = book_of(item.config)[task.model].get(place.id)
    return cost_of(usage, prices, at_ms=began, seconds=max(seconds, 0), tier=tier_of(task.request))


def _timings(item: Item, now_ms: int) -> Timings:
    return Timings(
        accepted_at=item.task.accepted_at,
        issued_at=item.task.issued_at,
        started_at=item.started_at,
        first_token_at=item.first_token_at,
        completed_at=now_ms,
    )


def succeeded(item: Item, completion: Completion, output_bytes: int, now_ms: int) -> Outcome:
    """A whole answer. Where the vendor counted nothing, its usage is estimated and flagged."""
    usage = told_or_estimated(completion.usage, item.task, output_bytes)
    return _outcome(item, "succeeded", now_ms, completion=completion, usage=usage)


def failed(item: Item, problem: ProviderFailure, now_ms: int) -> Outcome:
    """The call failed; usage is set where it may have been paid."""
    return _outcome(item, "failed", now_ms, usage=problem.usage, error=problem.error)


def refused(item: Item, error_class: str, message: str, now_ms: int, *, retriable: bool = False) -> Outcome:
    """Failed without a call: the task can't be called as it is."""
    error = ErrorInfo(error_class=error_class, message=message[:500], retriable=retriable)
    return _outcome(item, "failed", now_ms, error=error)


def never_called(item: Item, status: OutcomeStatus, now_ms: int) -> Outcome:
    """Expired or cancelled at a boundary before the provider was called."""
    error_class, message = _NEVER_CALLED[status]
    return _outcome(item, status, now_ms, error=ErrorInfo(error_class=error_class, message=message))


def stopped(item: Item, stop: CallStopped, usage: Usage, now_ms: int) -> Outcome:
    """The stream was dropped from here: what it had used is billed as estimated."""
    match stop.reason:
        case "cancelled":
            error = ErrorInfo(error_class="cancelled", message="cancelled during the call", maybe_paid=True)
            return _outcome(item, "cancelled", now_ms, usage=usage, error=error)
        case "deadline":
            message = "the deadline passed during the call"
            error = ErrorInfo(error_class="timeout_total", message=message, maybe_paid=True)
            return _outcome(item, "expired", now_ms, usage=usage, error=error)
        case _:
            return unknown(item, f"the call was dropped ({stop.reason})", now_ms, usage)


def returned(item: Item, now_ms: int) -> Outcome:
    """Handed back to route before the next try: this worker may not start one any more. Nothing was paid."""
    return _outcome(item, "returned", now_ms, error=item.last_error)


def shortened(outcome: Outcome, why: str) -> Outcome:
    """What is told instead of an outcome that no record can hold.

    A success has failed as too large, and is billed. Any other leaves its task behind, without which route ends
    the request.
    """
    if outcome.status != "succeeded":
        return msgspec.structs.replace(outcome, task=None)
    error = ErrorInfo(error_class="result_too_large", message=f"the result: {why}", maybe_paid=True)
    return msgspec.structs.replace(outcome, status="failed", output=[], error=error)


def unknown(item: Item, message: str, now_ms: int, usage: Usage | None = None) -> Outcome:
    """Started, its end not known; it may have been paid."""
    error = ErrorInfo(error_class="unknown_outcome", message=message, retriable=True, maybe_paid=True)
    return _outcome(item, "unknown", now_ms, usage=usage, error=error)
