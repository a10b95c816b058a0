"""The issue of an attempt: choose the model, reserve its worst case, make the call task."""

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

import msgspec

from processors.budget import input_bound
from processors.choose import Choice
from processors.pricing.book import book_of
from processors.pricing.cost import asked_of, worst_case
from processors.route.draft import Draft
from processors.route.open_request import OPEN, OpenRequest, Reservation, from_nanos, to_nanos
from processors.route.seams import Seams
from processors.route.settle import hold_of
from schemas import ids
from schemas.config import Config, Model
from schemas.records import CallTask, ClassifiedRequest, Problem, RequestEvent


class Bounds(NamedTuple):
    """The most that an attempt can use: tokens, and US dollars (None where the model has no price)."""

    input: int
    output: int
    cost: Decimal | None


def first_attempt(
    draft: Draft, record: OpenRequest, classified: ClassifiedRequest, config: Config, seams: Seams
) -> tuple[CallTask, Choice] | Problem:
    """The first attempt of a request whose candidates are set; or why it can't be paid."""
    task = CallTask(
        request_id=record.request_id,
        tenant=record.tenant,
        attempt=0,
        attempt_id="",
        model="",
        lane=record.lane,
        task_type=record.task_type,
        accepted_at=record.accepted_at,
        deadline_at=classified.deadline_at,
        issued_at=draft.now,
        config_version=record.config_version,
        route_partition=draft.partition,
        input_tokens_estimate=classified.input_tokens_estimate,
        max_output_tokens=0,
        request=classified.request,
    )
    return issue(draft, record, task, record.candidates, config, seams)


def issue(
    draft: Draft,
    record: OpenRequest,
    task: CallTask,
    candidates: Sequence[str],
    config: Config,
    seams: Seams,
    wait_ms: int = 0,
) -> tuple[CallTask, Choice] | Problem:
    """The next attempt, made from the task of the one before; or why it can't be paid.

    Notes the attempt and its reservation in `record`; the caller publishes the task. The wait is for the
    model of the attempt before; another model is called at once.
    """
    affordable = _affordable(record, task, candidates, config, draft.now)
    if not affordable:
        return _over_max_cost(record, task, candidates, config, draft.now)
    choice = seams.chooser.choose(affordable, record.task_type, seams.health)
    bounds = _bounds(task, config, choice.model, draft.now)
    number, candidate = record.attempt + 1, record.candidates.index(choice.model)
    held = Reservation(number, candidate, bounds.input, bounds.output, to_nanos(bounds.cost))
    hold = hold_of(record, held)
    problem = seams.budget.check(hold, draft.settlements)
    if problem is not None:
        return problem
    draft.holds.append(hold)
    waits = wait_ms > 0 and candidate == record.current
    _note(record, held, draft.now)
    issued = msgspec.structs.replace(
        task,
        attempt=number,
        attempt_id=ids.attempt_id(record.tenant, record.request_id, number),
        model=choice.model,
        issued_at=draft.now,
        max_output_tokens=bounds.output,
        not_before=draft.now + wait_ms if waits else None,
        worst_case_cost=bounds.cost,
    )
    return issued, choice


def _note(record: OpenRequest, held: Reservation, now: int) -> None:
    if held.candidate != record.current:
        record.failures = 0
    record.status, record.attempt, record.current = OPEN, held.attempt, held.candidate
    record.counted += 1
    record.issued_ms = now - record.accepted_at
    record.reservations.append(held)


def _bounds(task: CallTask, config: Config, name: str, now: int) -> Bounds:
    model = config.models[name]
    output = output_bound(task.request, config, model)
    bound = input_bound(task.request, task.input_tokens_estimate, model.context_window)
    cost = worst_case(
        [*book_of(config)[name].values()],
        bound,
        output,
        asked=asked_of(task.request),
        seconds=model.timeouts.total_s,
        from_ms=now,
        until_ms=task.deadline_at,
    )
    return Bounds(bound, output, cost)


def _affordable(
    record: OpenRequest, task: CallTask, candidates: Sequence[str], config: Config, now: int
) -> Sequence[str]:
    """The candidates whose worst case fits into what the request may still cost; all, where it set no bound."""
    allowed = from_nanos(record.allowance)
    if allowed is None:
        return candidates
    costs = ((name, _bounds(task, config, name, now).cost) for name in candidates)
    return [name for name, cost in costs if cost is not None and cost <= allowed]


def _over_max_cost(
    record: OpenRequest, task: CallTask, candidates: Sequence[str], config: Config, now: int
) -> Problem:
    costs = {name: _bounds(task, config, name, now).cost for name in candidates}
    told = ", ".join(
        f"{name} {'has no price' if cost is None else f'{cost:f}'}" for name, cost in costs.items()
    )
    message = (
        f"max_cost leaves {from_nanos(record.allowance):f} US dollars, and the most an attempt can cost is: {told};"
        " raise max_cost, or lower max_tokens"
    )
    return Problem(code="over_max_cost", message=message, field="max_cost")


def output_bound(request: RequestEvent, config: Config, model: Model) -> int:
    """The most output tokens of a call: what the request asks for, within what the model may give."""
    asked = request.parameters.max_tokens if request.parameters else None
    wanted = asked or config.defaults.max_output_tokens
    return min(wanted, model.max_output_tokens or wanted)
