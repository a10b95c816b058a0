"""Answers to what a compliance officer asks."""

from datetime import date

from tests.fakes.analytics_events import CONFIGS, PAUSES, partition_of
from tests.fakes.analytics_world import AGAIN, BUSY_DAY, Asked, World, day_of, ms
from tests.integration.cookbook.answers import (
    ACME,
    Rows,
    answers,
    ended_in,
    grouped,
    last_model,
    moment,
    november,
)


@answers("Who cancelled what, and why?")
def _(world: World) -> Rows:
    return [
        (moment(a.ended_at), a.actor, a.tenant, a.request_id, "finalised", "cancelled", a.words)
        for a in world.ended
        if a.status == "cancelled"
    ]


@answers("What have operators done?")
def _(world: World) -> Rows:
    did = [
        (actor, action, ms(date(2026, 11, 5 + n), len(actor + action)))
        for actor, action, m in PAUSES
        for n in range(m)
    ]
    did += [(a.actor, "finalised", a.ended_at) for a in world.ended if a.actor != "route"]
    return [(*k, len(v), moment(max(at for *_, at in v))) for k, v in grouped(did, lambda d: d[:2]).items()]


def request_7(world: World) -> Asked:
    return next(a for a in world.asked if a.request_id == "request-7" and a.tenant == ACME)


@answers("Which version of the configuration answered a request?")
def _(world: World) -> Rows:
    a = request_7(world)
    published = dict(CONFIGS)[a.config]
    return [(a.status, last_model(a), a.config, moment(published), a.config == CONFIGS[-1][0])]


@answers("What happened to a request?")
def _(world: World) -> Rows:
    a = request_7(world)
    trail: Rows = [(moment(a.accepted_at), "accepted", "route", None, a.first_model, "", "")]
    for before, call in zip(a.calls, a.calls[1:], strict=False):
        trail.append(
            (moment(call.issued_at), "retried", "route", call.number, call.model, "", before.error_class)
        )
    trail.append((moment(a.ended_at), "finalised", a.actor, None, "", a.status, a.error_class))
    return trail


@answers("Why did requests go to a model?")
def _(world: World) -> Rows:
    chosen = [(a.rule, "first healthy", a.first_model, a.accepted_at) for a in world.asked if a.first_model]
    chosen += [
        ("", "next candidate", c.model, c.issued_at) for a in world.asked for c in a.calls if c.number > 1
    ]
    groups = grouped([c for c in chosen if november(c[3])], lambda c: c[:3])
    return [(*k, len(v)) for k, v in groups.items()]


@answers("Which providers saw which classes of data?")
def _(world: World) -> Rows:
    seen = {
        (data_class, c.provider, a.request_id)
        for a, c in world.calls
        for data_class in a.data_classes
        if a.tenant == ACME and day_of(c.settled_at) == BUSY_DAY
    }
    return [(*k, len(v)) for k, v in grouped(seen, lambda s: s[:2]).items()]


@answers("Why are requests rejected?")
def _(world: World) -> Rows:
    told = [(a.tenant, code) for a in ended_in(world) if a.status == "rejected" for code in a.problems]
    return [(*k, len(v)) for k, v in grouped(told, lambda p: p).items()]


@answers("Is a request without its result?")
def _(world: World) -> Rows:
    return [
        (a.tenant, a.request_id, moment(a.accepted_at), moment(a.accepted_at + 600_000))
        for a in world.asked
        if not a.status and november(a.accepted_at)
    ]


@answers("Is the audit trail whole?")
def _(world: World) -> Rows:
    events = {0: 0, 1: sum(times for *_, times in PAUSES)}
    for a in world.asked:
        events[partition_of(a.tenant)] += 1 + bool(a.status) + sum(c.number > 1 for c in a.calls)
    return [(0, events[0], 1), (1, events[1], 0)]


@answers("Does each correction correct something?")
def _(world: World) -> Rows:
    assert any(a.request_id == AGAIN for a in world.asked)
    corrected = {
        tenant: sum(c.correction is not None for a in v for c in a.calls)
        for tenant, v in grouped(world.asked, lambda a: a.tenant).items()
    }
    return [(tenant, n, n, 0) for tenant, n in corrected.items()]
