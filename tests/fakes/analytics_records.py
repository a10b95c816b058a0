"""Single events about a request of the made-up autumn (`analytics_world`)."""

from typing import Any

import msgspec

from schemas.records import Attempt, AuditEvent, Problem, ResultEvent, Timings, Usage, UsageEvent
from tests.fakes.analytics_world import Asked, Call


def audit(
    a: Asked | None, action: str, at: int, actor: str = "route", mark: str = "", **more: Any
) -> AuditEvent:
    details = more.pop("details", None)
    about = {} if a is None else {**_echo(a), "accepted_at": a.accepted_at, "data_classes": a.data_classes}
    return AuditEvent(
        event_id=f"audit-{action}-{mark}-{about.get('request_id')}-{at}",
        action=action,
        actor=actor,
        at=at,
        config_version=a.config if a else "1111aaaa1111aaaa",
        sequence=0,
        previous_hash=bytes(32),
        details=msgspec.json.encode(details).decode() if details else "{}",
        **({"tenant": ""} | about | more),
    )


def _echo(a: Asked) -> dict[str, Any]:
    return {
        "tenant": a.tenant,
        "request_id": a.request_id,
        "application": a.application,
        "user": a.user,
        "lane": a.lane,
        "task_type": a.task_type,
        "metadata": {"experiment_arm": a.arm, "team": "x"} if a.arm else {"team": "x"},
    }


def journal(a: Asked, call: Call | None, phase: str, at: int = 0) -> Attempt:
    number = call.number if call else len(a.calls) + 1
    time = at or (call and (call.started_at if phase == "started" else call.ended_at)) or 0
    return Attempt(
        phase=phase,
        attempt_id=f"at-{a.request_id}-{number}-{a.accepted_at}",
        request_id=a.request_id,
        tenant=a.tenant,
        attempt=number,
        try_=1,
        model=call.model if call else a.first_model,
        call_topic="llm.calls.chat.standard",
        call_partition=0,
        call_offset=1,
        at=time,
        must_end_by=a.accepted_at + 600_000,
        worker="call-1",
    )


def _timings(a: Asked, c: Call) -> Timings:
    return Timings(
        accepted_at=a.accepted_at,
        issued_at=c.issued_at,
        started_at=c.started_at,
        first_token_at=c.first_token_at,
        completed_at=c.ended_at,
    )


def _counts(c: Call) -> Usage:
    return Usage(
        input_uncached=c.uncached,
        cache_read=c.cache_read,
        cache_write=c.cache_write,
        output=c.output,
        reasoning=c.reasoning,
        estimated=c.estimated,
    )


def usage(a: Asked, c: Call, *, corrects: bool) -> UsageEvent:
    event_id = (
        f"usage-{a.tenant}-{a.request_id}-{c.number}"  # the same again where the request's id is used again
    )
    return UsageEvent(
        event_id=event_id + "-1" if corrects else event_id,
        corrects=event_id if corrects else None,
        attempt=c.number,
        attempt_id=f"at-{a.request_id}-{c.number}-{a.accepted_at}",
        tries=1,
        status=c.status,
        model=c.model,
        config_version=a.config,
        accepted_at=a.accepted_at,
        recorded_at=c.settled_at,
        usage=_counts(c),
        cost=c.cost,
        provider=c.provider,
        deployment=f"{c.provider}-1",
        error_class=c.error_class or None,
        timings=_timings(a, c),
        **_echo(a),
    )


def result(a: Asked) -> ResultEvent:
    last = a.calls[-1] if a.calls else None
    told: dict[str, Any] = (
        {} if last is None else {"usage": _counts(last), "cost": last.cost, "timings": _timings(a, last)}
    )
    return ResultEvent(
        event_id=f"result-{a.request_id}-{a.accepted_at}",
        kind="terminal",
        status=a.status,
        config_version=a.config,
        accepted_at=a.accepted_at,
        completed_at=a.ended_at,
        error_class=a.error_class or None,
        problems=[Problem(code=code, message="mend it") for code in a.problems],
        text="an answer" if a.status == "succeeded" else None,
        model=(last.model if last else a.first_model) or None,
        provider=last.provider if last else None,
        attempts=len(a.calls),
        **told,
        **_echo(a),
    )


def notice(a: Asked, kind: str, number: int, at: int) -> ResultEvent:
    echo = _echo(a) | {"request_id": f"again-{number}"}
    return ResultEvent(
        event_id=f"notice-{number}",
        kind=kind,
        status=kind,
        config_version=a.config,
        accepted_at=at,
        completed_at=at,
        original_request_id=a.request_id,
        **{k: v for k, v in echo.items() if k not in ("lane", "task_type")},
    )
