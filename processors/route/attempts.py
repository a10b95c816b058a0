"""The issue of an attempt: choose the model, reserve its worst case, make the call task."""

from collections.abc import Sequence

import msgspec

from processors.budget import input_bound
from processors.choose import Choice
from processors.cost import worst_case
from processors.route.draft import Draft
from processors.route.open_request import OPEN, OpenRequest, Reservation, to_nanos
from processors.route.seams import Seams
from processors.route.settle import hold_of
from schemas import ids
from schemas.config import Config, Model
from schemas.records import CallTask, ClassifiedRequest, Problem, RequestEvent


def first_attempt(
    draft: Draft, record: OpenRequest, classified: ClassifiedRequest, config: Config, seams: Seams
) -> tuple[CallTask, Choice] | Problem:
    """The first attempt of a request whose candidates are set; or why the budget refuses it."""
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
    """The next attempt, made from the task of the one before; or why the budget refuses it.

    Notes the attempt and its reservation in `record`; the caller publishes the task. The wait is for the
    model of the attempt before; another model is called at once.
    """
    choice = seams.chooser.choose(candidates, record.task_type, seams.health)
    model = config.models[choice.model]
    output = output_bound(task.request, config, model)
    bound = input_bound(task.request, task.input_tokens_estimate, model.context_window)
    cost = worst_case(bound, output, model.price)
    number = record.attempt + 1
    held = Reservation(number, record.candidates.index(choice.model), bound, output, to_nanos(cost))
    problem = seams.budget.reserve(hold_of(record, held))
    if problem is not None:
        return problem
    waits = wait_ms > 0 and held.candidate == record.current
    record.status, record.attempt, record.current = OPEN, number, held.candidate
    record.counted += 1
    record.issued_ms = draft.now - record.accepted_at
    record.reservations.append(held)
    issued = msgspec.structs.replace(
        task,
        attempt=number,
        attempt_id=ids.attempt_id(record.tenant, record.request_id, number),
        model=choice.model,
        issued_at=draft.now,
        max_output_tokens=output,
        not_before=draft.now + wait_ms if waits else None,
        worst_case_cost=cost,
    )
    return issued, choice


def output_bound(request: RequestEvent, config: Config, model: Model) -> int:
    """The most output tokens of a call: what the request asks for, within what the model may give."""
    asked = request.parameters.max_tokens if request.parameters else None
    wanted = asked or config.defaults.max_output_tokens
    return min(wanted, model.max_output_tokens or wanted)
