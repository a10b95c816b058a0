"""The line that proves completeness: accepted = terminal = in ClickHouse, each counted at its own source.

Numbers that agree may still hide one request too few and another too many: the ids are compared too.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from processors.route.changelog import read as read_state
from processors.route.changes import Progress
from schemas import names
from streams.cli.clickhouse import ClickHouse
from streams.cli.connect import Where
from streams.cli.events import headers_of
from streams.cli.kafka import consumer, partitions, read

Id = tuple[str, str]
"""Tenant and request id."""


@dataclass(frozen=True)
class Found:
    """Requests as each source knows them: how often, by id (an id may be used again after the dedupe retention).

    `progress` is route's own count; `accepted` is of the audit topic, `terminal` of the results topic, `stored`
    of ClickHouse. `trimmed`: topics of which retention has removed the oldest records.
    """

    progress: Progress
    accepted: Counter[Id] = field(default_factory=Counter)
    terminal: Counter[Id] = field(default_factory=Counter)
    stored: Counter[Id] = field(default_factory=Counter)
    trimmed: frozenset[str] = frozenset()

    @property
    def left(self) -> int:
        """Older results that the topic's retention has removed: they are left out of all three counts."""
        gone = self.progress.terminal - self.terminal.total()
        return max(0, gone) if names.RESULTS in self.trimmed else 0

    @property
    def open(self) -> int:
        """Requests that route has accepted and not ended yet."""
        return self.progress.accepted - self.progress.terminal

    def counts(self) -> tuple[int, int, int]:
        """Accepted, terminal, in ClickHouse."""
        stored = self.stored & self.terminal if names.RESULTS in self.trimmed else self.stored
        return self.progress.accepted - self.left, self.terminal.total(), stored.total()

    def differences(self) -> dict[str, list[str]]:
        """The ids that are in one place and not in another, or there twice, by what is wrong with them."""
        accepted, terminal, stored = self.accepted, self.terminal, self.stored
        too_many = terminal - accepted
        wrong: dict[str, Iterable[Id]] = {
            "accepted, no terminal result": accepted - (terminal | stored),
            "terminal result, never accepted": too_many.keys() - accepted.keys(),
            "two terminal results": too_many.keys() & accepted.keys(),
            "terminal result, not in ClickHouse": terminal - stored,
        }
        if names.AUDIT not in self.trimmed:  # ClickHouse remembers for longer
            strange = stored - accepted
            wrong["in ClickHouse, never accepted"] = strange.keys() - accepted.keys()
            wrong["twice in ClickHouse"] = strange.keys() & accepted.keys()
        return {what: sorted(f"{i} ({t})" for t, i in ids) for what, ids in wrong.items() if ids}

    @property
    def hold(self) -> bool:
        """Whether all three agree, in numbers and in ids."""
        return len(set(self.counts())) == 1 and not self.differences()

    def line(self) -> str:
        """The counts as people read them."""
        accepted, terminal, stored = self.counts()
        return f"accepted {accepted} = terminal {terminal} = in ClickHouse {stored}"


async def look(place: Where, clickhouse: ClickHouse) -> Found:
    """Ask each source once. What ends while it asks may be missing in one of them."""
    progress, accepted, terminal, stored, trimmed = await asyncio.gather(
        route_progress(place.brokers),
        _ids(place.brokers, names.AUDIT, "accepted"),
        _ids(place.brokers, names.RESULTS, "terminal"),
        stored_results(clickhouse),
        _trimmed(place.brokers, (names.AUDIT, names.RESULTS)),
    )
    return Found(progress, accepted, terminal, stored, trimmed)


async def settled(
    place: Where, clickhouse: ClickHouse, quiet_s: float = 30, at_most_s: float = 600
) -> Found:
    """Look until all agree, nothing has changed for `quiet_s`, or the time is over.

    Requests of an earlier, interrupted run may be ending still.
    """
    now = asyncio.get_running_loop().time
    begun = now()
    found, moved_at = await look(place, clickhouse), begun
    while not found.hold and now() - moved_at < quiet_s and now() - begun < at_most_s:
        await asyncio.sleep(0.5)
        before, found = found, await look(place, clickhouse)
        if found != before:
            moved_at = now()
    return found


async def route_progress(brokers: str) -> Progress:
    """Route's own counters, all partitions together: what it has accepted and ended since it began."""
    latest: dict[int, Progress] = {}
    async for record in read(brokers, names.ROUTE_STATE):
        for change in read_state(record.key, record.value) if record.key == b"m" else ():
            if isinstance(change, Progress):
                latest[record.partition] = change
    accepted, terminal = sum(p.accepted for p in latest.values()), sum(p.terminal for p in latest.values())
    return Progress(accepted=accepted, terminal=terminal)


async def _ids(brokers: str, topic: str, kind: str) -> Counter[Id]:
    """How many committed events of a kind each request has on a topic, by their headers."""
    found: Counter[Id] = Counter()
    async for record in read(brokers, topic):
        headers = headers_of(record)
        if headers.get(names.HEADER_KIND) == kind:
            found[headers[names.HEADER_TENANT], headers[names.HEADER_REQUEST_ID]] += 1
    return found


async def stored_results(clickhouse: ClickHouse) -> Counter[Id]:
    """How many results each request has in ClickHouse."""
    sql = "SELECT tenant, request_id, count() AS n FROM results GROUP BY tenant, request_id"
    rows = await clickhouse.rows(sql)
    return Counter({(str(r["tenant"]), str(r["request_id"])): int(r["n"]) for r in rows})


async def _trimmed(brokers: str, topics: tuple[str, ...]) -> frozenset[str]:
    async with consumer(brokers) as reader:
        found = [tp for topic in topics for tp in await partitions(reader, topic)]
        reader.assign(found)
        starts = await reader.beginning_offsets(found)
    return frozenset(tp.topic for tp, start in starts.items() if start)
