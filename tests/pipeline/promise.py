"""The promise, as a list of what is wrong. A fault that time may mend is told apart from one that it can't."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.audit_chain import verify
from schemas.records import Attempt, Outcome, UsageEvent
from tests.pipeline.evidence import Evidence, Id, Lies


@dataclass
class Faults:
    """`late`: missing so far. `wrong`: can't become right any more."""

    late: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def missing(self, what: str, items: Iterable[object]) -> None:
        if listed := list(items):
            self.late.append(f"{len(listed)} {what}: {sorted(map(str, listed))[:5]}")

    def broken(self, what: str, items: Iterable[object]) -> None:
        if listed := list(items):
            self.wrong.append(f"{len(listed)} {what}: {sorted(map(str, listed))[:5]}")

    @property
    def any(self) -> list[str]:
        return self.wrong + self.late


def faults(
    evidence: Evidence,
    published: Iterable[Id],
    calls: Mapping[str, int],
    stored: Mapping[str, Counter[Lies]],
    reply_topics: Iterable[str],
    letters: Iterable[str] = (),
) -> Faults:
    """What is wrong. `published` are the requests that must be accepted, `calls` the provider's counts by
    "attempt id.try", `stored` each table's rows by where they lie, `letters` the ids of dead letters expected."""
    found = Faults()
    _results(found, evidence, set(published))
    _journal(found, evidence, calls)
    _usage(found, evidence)
    _chain(found, evidence)
    _stored(found, evidence, stored)
    _copies(found, evidence, reply_topics)
    unexpected = [f"{x.id} {x.reason}: {x.message}" for x in evidence.letters if x.id not in set(letters)]
    found.broken("dead letters that nobody expected", unexpected)
    return found


def _twice(items: Iterable[Any]) -> list[Any]:
    return [item for item, count in Counter(items).items() if count > 1]


def _results(found: Faults, evidence: Evidence, published: set[Id]) -> None:
    accepted, terminal = evidence.accepted(), evidence.terminal()
    found.broken("requests accepted twice", _twice(accepted))
    found.broken("requests accepted that nobody published", set(accepted) - published)
    found.missing("requests lost", published - set(accepted))
    found.broken("requests with two terminal results", [i for i, r in terminal.items() if len(r) > 1])
    found.broken("results of requests never accepted", terminal.keys() - set(accepted))
    found.missing("requests without a terminal result", set(accepted) - terminal.keys())
    found.broken("event ids of results that repeat", _twice(r.event_id for r in evidence.results))
    counted = sum(p.accepted for p in evidence.progress.values())
    ended = sum(p.terminal for p in evidence.progress.values())
    # Topics and state are read one after the other: while a pipeline works they differ for a moment.
    if not len(accepted) == counted == ended == len(terminal):
        found.late.append(
            f"accepted {len(accepted)}, by route's state {counted}; terminal {len(terminal)}, by state {ended}"
        )


def _key(record: Attempt) -> str:
    return f"{record.attempt_id}.{record.try_}"


def _journal(found: Faults, evidence: Evidence, calls: Mapping[str, int]) -> None:
    phases: dict[str, Counter[str]] = defaultdict(Counter)
    for record in evidence.attempts:
        phases[record.phase][_key(record)] += 1
    started = phases["started"]
    found.broken("tries started twice", [k for k, n in started.items() if n > 1])
    found.broken("calls without a `started` before them", calls.keys() - started.keys())
    found.broken("tries called twice", [k for k, n in calls.items() if n > 1])
    found.broken("tries abandoned, yet called", phases["abandoned"].keys() & calls.keys())
    ends: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in evidence.outcomes:
        ends[outcome.attempt_id].append(outcome)
    for record in evidence.attempts:
        if record.phase == "started" and not any(o.tries >= record.try_ for o in ends[record.attempt_id]):
            found.missing("`started` of which nobody told the end", [_key(record)])
    settled = defaultdict(list)
    for event in evidence.usage:
        settled[event.attempt_id].append(event)
    for attempt, outcomes in ends.items():
        if all(o.status == "unknown" for o in outcomes):
            marked = any(e.status == "unknown" for e in settled[attempt])
            if not marked:
                found.missing("attempts of unknown end not marked so", [attempt])


def _usage(found: Faults, evidence: Evidence) -> None:
    first: dict[tuple[Id, int], list[UsageEvent]] = defaultdict(list)
    corrections: Counter[tuple[Id, int]] = Counter()
    for event in evidence.usage:
        key = (event.tenant, event.request_id), event.attempt
        if event.corrects is None:
            first[key].append(event)
        else:
            corrections[key] += 1
            if not any(e.event_id == event.corrects for e in first[key]):
                found.broken("corrections of nothing", [key])
    found.broken("attempts settled twice", [k for k, events in first.items() if len(events) > 1])
    found.broken("attempts corrected twice", [k for k, n in corrections.items() if n > 1])
    for request, results in evidence.terminal().items():
        wanted = {(request, number) for number in range(1, results[0].attempts + 1)}
        found.missing("attempts without a usage event", wanted - first.keys())
    found.broken("event ids of usage that repeat", _twice(e.event_id for e in evidence.usage))
    tried = {(a.tenant, a.request_id) for a in evidence.attempts if a.phase == "done"}
    found.missing("requests called without any usage", tried - {request for request, _ in first})


def _chain(found: Faults, evidence: Evidence) -> None:
    for partition, events in evidence.audit.items():
        found.broken(f"faults in the audit chain of partition {partition}", verify(events))
        if (progress := evidence.progress.get(partition)) and progress.sequence != len(events):
            found.late.append(f"partition {partition}: {len(events)} audit events of {progress.sequence}")
    found.broken(
        "event ids of audit that repeat", _twice(e.event_id for p in evidence.audit.values() for e in p)
    )


def _stored(found: Faults, evidence: Evidence, stored: Mapping[str, Counter[Lies]]) -> None:
    for table, rows in stored.items():
        found.broken(f"rows twice in {table}", [at for at, n in rows.items() if n > 1])
        found.broken(f"rows in {table} that no topic has", rows.keys() - evidence.lies[table])
        found.missing(f"rows lost in {table}", evidence.lies[table] - rows.keys())


def _copies(found: Faults, evidence: Evidence, reply_topics: Iterable[str]) -> None:
    for topic in reply_topics:
        wanted = {r.event_id for r in evidence.results if r.reply_topic == topic}
        copies = evidence.copies[topic]
        found.broken(f"results copied twice to {topic}", _twice(copies))
        found.broken(f"copies on {topic} of results that aren't there", set(copies) - wanted)
        found.missing(f"results not copied to {topic}", wanted - set(copies))
