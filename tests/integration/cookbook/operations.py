"""Answers to what operators ask."""

from collections.abc import Iterable
from datetime import date

from tests.fakes.analytics_events import LETTERS, feedback_of, notices_of
from tests.fakes.analytics_world import BUSY_DAY, Asked, Call, World, day_of, ms
from tests.integration.cookbook.answers import (
    Rows,
    answers,
    calls_of,
    ended_in,
    ended_on_busy_day,
    grouped,
    last_model,
    moment,
    november,
    percentile,
    share,
)


def queue(call: Call) -> int | None:
    return None if call.started_at is None else call.started_at - call.issued_at


def queues(requests: Iterable[Asked]) -> list[int]:
    """How long the last calls of requests waited."""
    return [w for a in requests if a.calls and (w := queue(a.calls[-1])) is not None]


@answers("How long do requests wait, by lane?")
def _(world: World) -> Rows:
    lanes = grouped(ended_in(world), lambda a: a.lane)
    return [(lane, len(v), percentile(0.95, queues(v))) for lane, v in lanes.items()]


@answers("How soon does each model give its first token?")
def _(world: World) -> Rows:
    answered = [c for _, c in calls_of(world) if c.status == "succeeded"]
    models = {
        m: [c.first_token_at - c.started_at for c in v if c.first_token_at and c.started_at]
        for m, v in grouped(answered, lambda c: c.model).items()
    }
    return [(m, percentile(0.5, v), percentile(0.95, v)) for m, v in models.items()]


@answers("At what hours of a day is it slow?")
def _(world: World) -> Rows:
    hours = grouped(ended_on_busy_day(world), lambda a: a.ended_at // 3_600_000)
    return [
        (moment(hour * 3_600_000), len(v), percentile(0.95, [a.ended_at - a.accepted_at for a in v]))
        for hour, v in hours.items()
    ]


@answers("Which minutes were the busiest?")
def _(world: World) -> Rows:
    settled = [c.settled_at for _, c in world.calls if day_of(c.settled_at) == BUSY_DAY]
    minutes = [(moment(m * 60_000), len(v)) for m, v in grouped(settled, lambda at: at // 60_000).items()]
    return sorted(minutes, key=lambda r: (-r[1], r[0]))[:5]


@answers("Which share of a tenant's answers took longer than five seconds?")
def _(world: World) -> Rows:
    answered = [a for a in ended_in(world) if a.status == "succeeded"]
    found = []
    for tenant, requests in grouped(answered, lambda a: a.tenant).items():
        slow = sum(a.ended_at - a.accepted_at > 5000 for a in requests)
        found.append((tenant, slow, len(requests), share(slow, len(requests))))
    return found


@answers("Which requests were the slowest?")
def _(world: World) -> Rows:
    found = []
    for a in ended_on_busy_day(world):
        last = a.calls[-1] if a.calls else None
        took = last.ended_at - last.started_at if last and last.ended_at and last.started_at else None
        waited = queue(last) if last else None
        found.append(
            (
                a.tenant,
                a.request_id,
                last_model(a),
                a.status,
                len(a.calls),
                a.ended_at - a.accepted_at,
                waited,
                took,
            )
        )
    return sorted(found, key=lambda r: (-r[5], r[1]))[:10]


@answers("How do requests fail, by day?")
def _(world: World) -> Rows:
    failed = [a for a in ended_in(world) if a.error_class]
    return [(*k, len(v)) for k, v in grouped(failed, lambda a: (day_of(a.ended_at), a.error_class)).items()]


@answers("Which providers fail most?")
def _(world: World) -> Rows:
    found = []
    for provider, calls in grouped((c for _, c in calls_of(world)), lambda c: c.provider).items():
        failures = sum(c.status != "succeeded" for c in calls)
        found.append((provider, len(calls), failures, share(failures, len(calls))))
    return found


@answers("Which requests took more than one attempt?")
def _(world: World) -> Rows:
    again = [a for a in ended_on_busy_day(world) if len(a.calls) > 1]
    return [(a.tenant, a.request_id, len(a.calls), a.status, last_model(a)) for a in again]


@answers("How many requests were answered by another model than the first choice?")
def _(world: World) -> Rows:
    moved = [a for a in ended_in(world) if a.status == "succeeded" and last_model(a) != a.first_model]
    return [(*k, len(v)) for k, v in grouped(moved, lambda a: (a.first_model, last_model(a))).items()]


@answers("Which tenants' requests expired?")
def _(world: World) -> Rows:
    expired = [a for a in ended_in(world) if a.status == "expired"]
    return [(*k, len(v)) for k, v in grouped(expired, lambda a: (a.tenant, a.lane)).items()]


@answers("Which calls have begun and not ended?")
def _(world: World) -> Rows:
    found = []
    for a in world.asked:
        journaled = [(c.number, c.started_at, c.started_at) for c in a.calls if c.ended_at is None]
        if a.handed_over:
            journaled.append((len(a.calls) + 1, a.ended_at + 5, a.ended_at + 14))
        for number, begun, last in journaled:
            if begun is not None and last is not None and november(begun):
                name = f"at-{a.request_id}-{number}-{a.accepted_at}"
                found.append((a.tenant, a.request_id, name, moment(last), moment(a.accepted_at + 600_000)))
    return found


@answers("What ended as a dead letter, and why?")
def _(world: World) -> Rows:
    found, number = [], 0
    for stage, reason, times in LETTERS:
        number += times
        last = ms(date(2026, 11, number), number)
        found.append((stage, reason, times, moment(last), f"mend what is {reason}"))
    return found


@answers("Who sends the same request again?")
def _(world: World) -> Rows:
    sent = [(a, kind) for a, kind in notices_of(world) if november(a.accepted_at + 60_000)]
    groups = grouped(sent, lambda p: (p[0].tenant, p[0].application, p[1]))
    return [(*k, len(v), len({a.request_id for a, _ in v})) for k, v in groups.items()]


@answers("Do the arms of an experiment differ?")
def _(world: World) -> Rows:
    found = []
    for arm, pairs in grouped([(a, c) for a, c in calls_of(world) if a.arm], lambda p: p[0].arm).items():
        calls = [c for _, c in pairs]
        priced = [float(c.cost) for c in calls if c.cost is not None]
        took = [c.ended_at - c.started_at for c in calls if c.ended_at and c.started_at]
        answered = share(sum(c.status == "succeeded" for c in calls), len(calls))
        found.append((arm, len(calls), answered, share(sum(priced), len(priced)), percentile(0.95, took)))
    return found


@answers("How are the answers of each model judged?")
def _(world: World) -> Rows:
    found = []
    for model, judged in grouped(feedback_of(world), lambda f: last_model(f[0])).items():
        scores = [score for _, score, _ in judged if score is not None]
        mean = share(sum(scores), len(scores)) if scores else None
        found.append((model, len(judged), mean, sum(label == "wrong" for *_, label in judged)))
    return found
