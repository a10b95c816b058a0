"""An outcome: settle its attempt, then end the request or go on to the next attempt."""

import msgspec

from processors.providers.unsupported import UNSUPPORTED
from processors.route.attempts import issue
from processors.route.draft import STAGE, Draft
from processors.route.emit import Source
from processors.route.finalise import finalise
from processors.route.fingerprints import fingerprint
from processors.route.next_step import UNKNOWN_OUTCOME, Again, End, Quarantine, next_step
from processors.route.open_request import FINAL, QUARANTINED, OpenRequest, unpack
from processors.route.seams import ConfigLookup, Seams
from processors.route.settle import settle
from schemas import ids
from schemas.config import Config
from schemas.records import CallTask, DeadLetter, Outcome, Problem


def handle_outcome(
    draft: Draft, outcome: Outcome, source: Source, configs: ConfigLookup, seams: Seams
) -> None:
    """Take in an outcome. One without a reservation is ignored: it repeats, or its request is forgotten (also
    where the same id was accepted anew since, which the time of acceptance tells).

    A success ends an open request even when it is the late truth about an attempt given up as unknown.
    """
    key = fingerprint("request", outcome.tenant, outcome.request_id)
    packed = draft.state.requests.get(key)
    if packed is None:
        return
    record = unpack(packed)
    if outcome.timings.accepted_at != record.accepted_at or not settle(draft, record, outcome):
        return
    if record.status == FINAL:
        draft.keep(key, record)
        return
    config = configs.get(record.config_version)
    if outcome.status == "succeeded":
        _succeed(draft, key, record, outcome, config, seams)
    elif outcome.attempt != record.attempt:
        draft.keep(key, record)
    elif outcome.status in ("cancelled", "expired"):
        error_class = "cancelled" if outcome.status == "cancelled" else "deadline_exceeded"
        message = outcome.error.message if outcome.error else f"the attempt was {outcome.status}"
        finalise(
            draft, key, record, outcome.status, error_class=error_class, message=message, outcome=outcome
        )
    else:
        _go_on(draft, key, record, outcome, source, config, seams)


def _succeed(
    draft: Draft, key: bytes, record: OpenRequest, outcome: Outcome, config: Config, seams: Seams
) -> None:
    problem = seams.guard.review(outcome, config)
    if problem is None:
        days = config.retention.of_bodies(record.echo.data_classes)
        finalise(draft, key, record, "succeeded", outcome=outcome, retention_days=days)
    else:
        finalise(
            draft, key, record, "failed", error_class=problem.code, message=problem.message, outcome=outcome
        )


def _go_on(
    draft: Draft,
    key: bytes,
    record: OpenRequest,
    outcome: Outcome,
    source: Source,
    config: Config,
    seams: Seams,
) -> None:
    step = next_step(record, outcome, config, draft.now)
    if isinstance(step, Again) and outcome.task is None:
        step = End("failed", "internal", "the outcome carried no call task to try again with")
    if isinstance(step, Quarantine):
        _quarantine(draft, record, outcome, source, config, seams)
        draft.keep(key, record)
    elif isinstance(step, End):
        finalise(
            draft,
            key,
            record,
            step.status,
            error_class=step.error_class,
            message=step.message,
            outcome=outcome,
        )
    elif outcome.task is not None:
        task = outcome.task
        if outcome.status != "returned":
            errors = [*task.previous_errors, step.reason]
            task = msgspec.structs.replace(task, previous_errors=errors)
        again(draft, key, record, task, step, config, seams, after=outcome)


def again(
    draft: Draft,
    key: bytes,
    record: OpenRequest,
    task: CallTask,
    step: Again,
    config: Config,
    seams: Seams,
    actor: str = STAGE,
    after: Outcome | None = None,
) -> None:
    """Issue another attempt, after the outcome of one; the request fails where it can't be paid."""
    places = _places(record, step, seams)
    issued = issue(draft, record, task, places, config, seams, step.wait_ms)
    if isinstance(issued, Problem):
        finalise(draft, key, record, "failed", error_class=issued.code, message=issued.message)
        return
    task, choice = issued
    details: dict[str, object] = {
        "candidates": places,
        "why": choice.why,
        "not_before": task.not_before,
        "worst_case_cost": task.worst_case_cost,
    }
    if after is not None and after.dropped:
        details["dropped"] = after.dropped
    if after is not None and after.error is not None and after.error.error_class == UNSUPPORTED:
        details["unsupported"] = after.error.message
    draft.audit_request(
        "retried", record, attempt=task.attempt, reason=step.reason, actor=actor, details=details
    )
    draft.call(task)
    draft.keep(key, record)


def _places(record: OpenRequest, step: Again, seams: Seams) -> list[str]:
    """The candidates to choose from, best first and at least one. Nobody stays at a model that is sick by now."""
    model = record.candidates[record.current]
    if step.place == "same" and seams.health.healthy(model):
        return [model]
    return (record.onward() if step.place == "next" else record.left()) or [model]


def _quarantine(
    draft: Draft, record: OpenRequest, outcome: Outcome, source: Source, config: Config, seams: Seams
) -> None:
    record.status = QUARANTINED
    letter_id = ids.dead_letter_id(source.topic, source.partition, source.offset)
    letter = DeadLetter(
        id=letter_id,
        kind="quarantine",
        stage=STAGE,
        reason=UNKNOWN_OUTCOME,
        message="the end of this attempt isn't known; it may have been paid: resolve with retry or fail",
        at=draft.now,
        source_topic=source.topic,
        source_partition=source.partition,
        source_offset=source.offset,
        source_timestamp=source.timestamp,
        key=record.tenant.encode(),
        value=seams.encode(outcome),
        claimed_tenant=record.tenant,
        request_id=record.request_id,
        retention_days=config.retention.of_dead_letters(record.echo.data_classes),
    )
    draft.dead_letter(letter)
    draft.audit_request(
        "quarantined",
        record,
        attempt=outcome.attempt,
        reason=UNKNOWN_OUTCOME,
        details={"dead_letter_id": letter_id},
    )
