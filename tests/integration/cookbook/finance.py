"""Answers to what finance asks."""

from decimal import Decimal

from tests.fakes.analytics_world import BUSY_DAY, Asked, Call, World, day_of
from tests.integration.cookbook.answers import (
    ACME,
    Rows,
    answers,
    calls_of,
    cost,
    ended_in,
    grouped,
    share,
    total,
)


@answers("What did each tenant cost, month by month?")
def _(world: World) -> Rows:
    months = grouped(world.calls, lambda p: (p[0].tenant, day_of(p[1].settled_at).replace(day=1)))
    return [(*k, cost(v), len(v), sum(c.cost is None for _, c in v)) for k, v in months.items()]


@answers("What does each application of a tenant spend by day?")
def _(world: World) -> Rows:
    mine = [(a, c) for a, c in calls_of(world) if a.tenant == ACME]
    days = grouped(mine, lambda p: (day_of(p[1].settled_at), p[0].application))
    return [(*k, cost(v)) for k, v in days.items()]


@answers("Which tenants grew against the month before?")
def _(world: World) -> Rows:
    def of_month(found: list[tuple[Asked, Call]], month: int) -> Decimal | None:
        return cost((a, c) for a, c in found if day_of(c.settled_at).month == month)

    recent = [(a, c) for a, c in world.calls if day_of(c.settled_at).month in (10, 11)]
    tenants = grouped(recent, lambda p: p[0].tenant)
    return [(tenant, of_month(v, 11), of_month(v, 10)) for tenant, v in tenants.items()]


@answers("What do retries cost?")
def _(world: World) -> Rows:
    tenants = grouped(calls_of(world), lambda p: p[0].tenant)
    again = {t: [(a, c) for a, c in v if c.number > 1] for t, v in tenants.items()}
    return [(t, len(again[t]), cost(again[t]), cost(v)) for t, v in tenants.items()]


@answers("What was paid for attempts that gave no answer?")
def _(world: World) -> Rows:
    failed = [(a, c) for a, c in calls_of(world) if c.status != "succeeded"]
    return [(k, len(v), cost(v)) for k, v in grouped(failed, lambda p: p[1].error_class).items()]


@answers("Which share of the calls has no price?")
def _(world: World) -> Rows:
    models = grouped(world.calls, lambda p: p[1].model)
    unpriced = {m: sum(c.cost is None for _, c in v) for m, v in models.items()}
    return [(m, len(v), unpriced[m], share(unpriced[m], len(v)), cost(v)) for m, v in models.items()]


@answers("How much of the cost is an estimate?")
def _(world: World) -> Rows:
    tenants = grouped(calls_of(world), lambda p: p[0].tenant)
    return [(t, cost((a, c) for a, c in v if c.estimated), cost(v)) for t, v in tenants.items()]


@answers("How far is the worst case from what a call really costs?")
def _(world: World) -> Rows:
    priced = [(a, c) for a, c in calls_of(world) if c.cost is not None and c.worst is not None]
    tenants = grouped(priced, lambda p: p[0].tenant)
    return [(t, len(v), total(c.worst for _, c in v), cost(v)) for t, v in tenants.items()]


@answers("What does an answered request cost?")
def _(world: World) -> Rows:
    spent = {k: cost(v) for k, v in grouped(calls_of(world), lambda p: p[0].application).items()}
    found = []
    for application, ended in grouped(ended_in(world), lambda a: a.application).items():
        answered, dollars = sum(a.status == "succeeded" for a in ended), spent[application]
        assert dollars is not None
        found.append((application, answered, dollars, share(float(dollars), answered)))
    return found


@answers("What did later corrections change?")
def _(world: World) -> Rows:
    pairs = [(a.tenant, c, c.correction) for a in world.ended for c in a.calls if c.correction]
    tenants = grouped(pairs, lambda p: p[0])
    return [
        (t, len(v), total(c.cost for _, c, _ in v), total(r.cost for _, _, r in v))
        for t, v in tenants.items()
    ]


@answers("Which requests of a tenant cost most?")
def _(world: World) -> Rows:
    mine = [(a, c) for a, c in world.calls if a.tenant == ACME and day_of(c.settled_at) == BUSY_DAY]
    requests = [
        (k[0], len(v), cost(v))
        for k, v in grouped(mine, lambda p: (p[0].request_id, p[0].accepted_at)).items()
    ]
    return sorted(requests, key=lambda r: (r[2] is None, -(r[2] or 0), r[0]))[:10]


@answers("Which users of a tenant spend most?")
def _(world: World) -> Rows:
    mine = [(a, c) for a, c in calls_of(world) if a.tenant == ACME]
    users = [(u, cost(v), len(v)) for u, v in grouped(mine, lambda p: p[0].user).items()]
    return sorted(users, key=lambda r: (r[1] is None, -(r[1] or 0), r[0]))[:10]


@answers("How many tokens does each application use by day?")
def _(world: World) -> Rows:
    days = grouped(calls_of(world), lambda p: (day_of(p[1].settled_at), p[0].application))
    kinds = ("uncached", "cache_read", "output", "reasoning")
    return [(*k, *(total(getattr(c, kind) for _, c in v) for kind in kinds)) for k, v in days.items()]


@answers("How often does the vendor's cache help?")
def _(world: World) -> Rows:
    found = []
    for model, calls in grouped((c for _, c in calls_of(world)), lambda c: c.model).items():
        known = [c.cache_read for c in calls if c.cache_read is not None]
        if known:
            hits = sum(n > 0 for n in known)
            found.append((model, hits, len(known), share(hits, len(known)), sum(known)))
    return found
