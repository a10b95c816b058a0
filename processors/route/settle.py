"""The settlement of an attempt's reservation: one usage event, at worst case where the truth isn't known.

| outcome                                     | reservation open   | settled as unknown   | none    |
|---------------------------------------------|--------------------|----------------------|---------|
| usage given, and its cost if there is one   | that usage, closed | correction, closed   | ignored |
| usage of a priced model given without cost  | worst case, closed | correction to itself | ignored |
| no usage, and nothing can have been paid    | zeros, closed      | correction to zeros  | ignored |
| no usage, and something may be paid         | worst case, closed | correction to itself | ignored |
| unknown                                     | worst case, kept   | ignored              | ignored |
"""

from decimal import Decimal
from typing import Final

from processors.budget import Hold, Settlement
from processors.route.draft import Draft
from processors.route.open_request import OpenRequest, Reservation, from_nanos, to_nanos
from schemas import ids
from schemas.records import Outcome, Usage, UsageEvent

# The cost basis of an attempt that is settled at what was reserved for it.
WORST_CASE: Final = "worst_case"


def settle(draft: Draft, record: OpenRequest, outcome: Outcome) -> bool:
    """Settle the attempt of the outcome; False where there is nothing to settle: ignore the outcome."""
    held = record.reservation(outcome.attempt)
    if held is None or (held.settled_unknown and outcome.status == "unknown"):
        return False
    usage, cost = _used(held, outcome)
    event = _usage_event(draft, record, held, outcome.status, usage, cost)
    event.tries, event.attempt_id = outcome.tries, outcome.attempt_id
    event.provider, event.deployment = outcome.provider, outcome.deployment
    event.vendor_model, event.timings = outcome.vendor_model, outcome.timings
    if usage is outcome.usage:
        event.cost_basis, event.price_version = outcome.cost_basis, outcome.price_version
    elif usage.estimated:
        event.cost_basis = _basis_of_worst(held)
    event.error_class = outcome.error.error_class if outcome.error else None
    _close(draft, record, held, event)
    if outcome.status == "unknown":
        held.settled_unknown = True
    else:
        record.reservations.remove(held)
    return True


def settle_unheard(draft: Draft, record: OpenRequest, held: Reservation, reason: str) -> None:
    """Settle an attempt at worst case because nothing was heard of it; what is heard later corrects that."""
    usage, cost = _worst(held)
    event = _usage_event(draft, record, held, "unknown", usage, cost)
    event.error_class = reason
    event.cost_basis = _basis_of_worst(held)
    event.attempt_id = ids.attempt_id(record.tenant, record.request_id, held.attempt)
    _close(draft, record, held, event)
    held.settled_unknown = True


def hold_of(record: OpenRequest, held: Reservation) -> Hold:
    """What the budget holds for an attempt."""
    model = record.candidates[held.candidate]
    return Hold(record.tenant, record.request_id, held.attempt, model, from_nanos(held.cost))


def _close(draft: Draft, record: OpenRequest, held: Reservation, event: UsageEvent) -> None:
    if held.settled_unknown:
        event.corrects = event.event_id
        event.event_id = ids.event_id(record.tenant, record.request_id, "usage", held.attempt, 0, 1)
    draft.usage(event)
    draft.settlements.append(Settlement(hold_of(record, held), event.cost, held.settled_unknown))
    if record.allowance is not None:
        corrected = held.cost if held.settled_unknown else 0
        record.allowance += (corrected or 0) - (to_nanos(event.cost) or 0)
    if held.settled_unknown:
        draft.audit_request(
            "usage_corrected",
            record,
            attempt=held.attempt,
            status=event.status,
            details={"corrects": event.corrects, "cost": event.cost, "reserved": from_nanos(held.cost)},
        )


def _used(held: Reservation, outcome: Outcome) -> tuple[Usage, Decimal | None]:
    told = outcome.usage if outcome.status != "unknown" else None
    if told is not None and (outcome.cost is not None or held.cost is None):
        return told, outcome.cost
    if told is not None or _maybe_paid(outcome):
        return _worst(held)
    nothing = Usage(input_uncached=0, cache_read=0, cache_write=0, output=0, reasoning=0)
    return nothing, None if held.cost is None else Decimal(0)


def _maybe_paid(outcome: Outcome) -> bool:
    if outcome.status in ("succeeded", "unknown"):
        return True
    if outcome.error is not None and outcome.error.maybe_paid:
        return True
    return outcome.status in ("cancelled", "expired") and outcome.tries > 0 and outcome.error is None


def _worst(held: Reservation) -> tuple[Usage, Decimal | None]:
    usage = Usage(input_uncached=held.max_input, output=held.max_output, estimated=True)
    return usage, from_nanos(held.cost)


def _basis_of_worst(held: Reservation) -> str | None:
    return WORST_CASE if held.cost is not None else None


def _usage_event(
    draft: Draft, record: OpenRequest, held: Reservation, status: str, usage: Usage, cost: Decimal | None
) -> UsageEvent:
    echo = record.echo
    return UsageEvent(
        event_id=ids.event_id(record.tenant, record.request_id, "usage", held.attempt),
        request_id=record.request_id,
        tenant=record.tenant,
        attempt=held.attempt,
        attempt_id="",
        tries=0,
        status=status,
        model=record.candidates[held.candidate],
        config_version=record.config_version,
        accepted_at=record.accepted_at,
        recorded_at=draft.now,
        usage=usage,
        cost=cost,
        lane=record.lane,
        task_type=record.task_type,
        application=echo.application,
        user=echo.user,
        session_id=record.session_id,
        purpose=echo.purpose,
        experiment_key=echo.experiment_key,
        workflow_id=echo.workflow_id,
        metadata=echo.metadata,
    )
