"""The line that proves completeness: accepted = terminal = in ClickHouse, each counted at its own source."""

import asyncio
from dataclasses import dataclass

from processors.route.changelog import read as read_state
from processors.route.changes import Progress
from schemas import names
from schemas.codec import Codec
from schemas.records import AuditEvent
from streams.cli.clickhouse import ClickHouse
from streams.cli.connect import Where
from streams.cli.events import headers_of
from streams.cli.kafka import consumer, partitions, read

Id = tuple[str, str]
"""Tenant and request id."""

_SETTLE_S = 30.0


@dataclass(frozen=True)
class Counts:
    """Requests as each source knows them. `left`: older results that the topic's retention has removed."""

    accepted: int
    terminal: int
    stored: int
    left: int = 0

    @property
    def hold(self) -> bool:
        """Whether all three agree."""
        return self.accepted == self.terminal == self.stored

    def line(self) -> str:
        """The line as the demo prints it."""
        return f"accepted {self.accepted} = terminal {self.terminal} = in ClickHouse {self.stored}"


async def count(place: Where, clickhouse: ClickHouse) -> Counts:
    """Count once. What retention has removed from the results topic is left out of all three."""
    progress, terminal, stored, trimmed = await asyncio.gather(
        route_progress(place.brokers),
        terminal_results(place.brokers),
        stored_results(clickhouse),
        _trimmed(place.brokers),
    )
    if not trimmed:
        return Counts(progress.accepted, len(terminal), len(stored))
    left = max(0, progress.terminal - len(terminal))
    return Counts(progress.accepted - left, len(terminal), len(stored & terminal), left)


async def settled(place: Where, clickhouse: ClickHouse) -> Counts:
    """Count until the three agree, or nothing has changed for half a minute.

    Requests of an earlier, interrupted run may be ending still.
    """
    now = asyncio.get_running_loop().time
    counts, moved_at = await count(place, clickhouse), now()
    while not counts.hold and now() - moved_at < _SETTLE_S:
        await asyncio.sleep(0.5)
        before, counts = counts, await count(place, clickhouse)
        if counts != before:
            moved_at = now()
    return counts


async def route_progress(brokers: str) -> Progress:
    """Route's own counters, all partitions together: what it has accepted and ended since it began."""
    latest: dict[int, Progress] = {}
    async for record in read(brokers, names.ROUTE_STATE):
        for change in read_state(record.key, record.value) if record.key == b"m" else ():
            if isinstance(change, Progress):
                latest[record.partition] = change
    accepted, terminal = sum(p.accepted for p in latest.values()), sum(p.terminal for p in latest.values())
    return Progress(accepted=accepted, terminal=terminal)


async def terminal_results(brokers: str) -> set[Id]:
    """The requests with a committed terminal result on its topic. Raises ValueError for one with two."""
    found: set[Id] = set()
    async for record in read(brokers, names.RESULTS):
        headers = headers_of(record)
        if headers.get(names.HEADER_KIND) == "terminal":
            id_ = headers[names.HEADER_TENANT], headers[names.HEADER_REQUEST_ID]
            if id_ in found:
                raise ValueError(f"request {id_[1]} of {id_[0]} has two terminal results")
            found.add(id_)
    return found


async def stored_results(clickhouse: ClickHouse) -> set[Id]:
    """The requests with a result in ClickHouse."""
    rows = await clickhouse.rows("SELECT DISTINCT tenant, request_id FROM results")
    return {(str(r["tenant"]), str(r["request_id"])) for r in rows}


async def _trimmed(brokers: str) -> bool:
    async with consumer(brokers) as reader:
        found = await partitions(reader, names.RESULTS)
        reader.assign(found)
        starts = await reader.beginning_offsets(found)
    return any(starts.values())


async def differences(place: Where, codec: Codec, clickhouse: ClickHouse) -> dict[str, list[str]]:
    """The ids that are in one place and not in another, by what is wrong with them."""
    accepted: set[Id] = set()
    async for record in read(place.brokers, names.AUDIT):
        event = await codec.decode_async(record.value, AuditEvent)
        if event.action == "accepted":
            accepted.add((event.tenant, event.request_id or ""))
    terminal, stored = await terminal_results(place.brokers), await stored_results(clickhouse)
    wrong = {
        "accepted, no terminal result": accepted - terminal - stored,
        "terminal result, never accepted": terminal - accepted,
        "terminal result, not in ClickHouse": terminal - stored,
        "in ClickHouse, never accepted": stored - accepted,
    }
    return {what: sorted(f"{i} ({t})" for t, i in ids) for what, ids in wrong.items() if ids}
