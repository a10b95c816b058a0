"""The records of reconciliations: the table `reconciliations`, and what later runs read of it.

They don't come by Kafka, as the other tables' rows do: they tell of Kafka and ClickHouse, not of requests, and must
not wait for what they examine. A run's rows go in as one block under a token made of its id, so that however often
they are sent they are there once; and a run on schedule is claimed by a row whose token only one worker can use.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from sinks.clickhouse import ClickHouse
from sinks.ledger import Partition
from sinks.patience import Patience
from sinks.queries import query
from sinks.reconcile.findings import Checked, Finding
from sinks.reconcile.seals import Seal
from sinks.register import LEASE_MS
from sinks.store import LeaseOver, Row, Unavailable
from sinks.tables import Table

Scope = Literal["new", "all", "part"]

_TIME: Final = "DateTime64(3, 'UTC')"
_COLUMNS: Final = {
    "run": "String",
    "at": _TIME,
    "event": "LowCardinality(String)",
    "scope": "LowCardinality(String)",
    "worker": "LowCardinality(String)",
    "number": "UInt64",
    "topic": "LowCardinality(String)",
    "partition": "Int32",
    "position_from": "Int64",
    "position_to": "Int64",
    "table": "LowCardinality(String)",
    "records": "UInt64",
    "rows": "UInt64",
    "digest": "UInt64",
    "kind": "LowCardinality(String)",
    "tenant": "LowCardinality(String)",
    "request_id": "String",
    "subject": "String",
    "count": "UInt64",
    "mended": "Bool",
    "gaps": "UInt64",
    "horizon": f"Nullable({_TIME})",
    "open_since": f"Nullable({_TIME})",
    "duration_ms": "UInt64",
    "note": "String",
}
RECONCILIATIONS: Final = Table("reconciliations", tuple(_COLUMNS), tuple(_COLUMNS.values()))
_MOST_FINDINGS: Final = 1_000


@dataclass(frozen=True, slots=True)
class LastRun:
    """The last run that counts for the next: not one of a range of time. Times are in ms.

    `reached`: the position up to which each partition was compared; `dirty`: stretches that had gaps.
    """

    id: str
    at: int
    gaps: int
    horizon: int
    open_since: int | None
    reached: dict[Partition, int] = field(default_factory=dict)
    dirty: dict[Partition, tuple[tuple[int, int], ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is kept of a run that is over."""

    run: str
    scope: Scope
    worker: str
    records: int
    gaps: int
    horizon: int
    open_since: int | None
    duration_ms: int


class Book:
    """Reads and writes the records."""

    def __init__(self, clickhouse: ClickHouse, patience: Patience) -> None:
        self._clickhouse = clickhouse
        self._names = {"database": clickhouse.access.database}
        self._patience = patience

    async def now(self) -> int:
        """The database's clock, ms."""
        return int((await self._rows("now"))[0][0])

    async def last_claim(self) -> tuple[int, int]:
        """Number and time (ms) of the last run on schedule; 0 and 0 where there was none."""
        number, at = (await self._rows("last_claim"))[0]
        return int(number), int(at) if number else 0

    async def claim(self, number: int, run: str, worker: str) -> bool:
        """Claim run `number` of the schedule; False where another worker has it."""
        row = _row(run=run, at=await self.now(), event="claimed", scope="new", worker=worker, number=number)
        await self._insert([row], f"reconciliation:claim:{number}")
        found = await self._rows("claimant", {"number": number})
        return bool(found) and found[0][0] == run

    async def last_run(self) -> LastRun | None:
        """See LastRun; None before the first."""
        found = await self._rows("last_run")
        if not found:
            return None
        run, _scope, at, gaps, horizon, open_since = found[0]
        reached: dict[Partition, int] = {}
        dirty: dict[Partition, list[tuple[int, int]]] = {}
        for topic, partition, start, end, wrong in await self._rows("compared_by", {"run": run}):
            reached[topic, partition] = max(end, reached.get((topic, partition), 0))
            if wrong:
                dirty.setdefault((topic, partition), []).append((start, end))
        stretches = {at: tuple(sorted(some)) for at, some in dirty.items()}
        return LastRun(run, at, gaps, horizon, open_since, reached, stretches)

    async def findings_of(self, run: str) -> dict[str, int]:
        """How many gaps of each kind a run has left."""
        return {kind: int(n) for kind, n in await self._rows("findings_of", {"run": run})}

    async def write(
        self, outcome: Outcome, checked: Iterable[Checked], findings: Sequence[Finding], seals: Iterable[Seal]
    ) -> None:
        """Write all of a run. Its records are there once, or not at all."""
        now = await self._patience.persist(self.now, "read the clock")
        same: dict[str, Any] = {
            "run": outcome.run,
            "at": now,
            "scope": outcome.scope,
            "worker": outcome.worker,
        }
        rows = [_row(**same, **each) for each in _compared(checked)]
        rows += [_row(**same, **_sealed(seal)) for seal in seals]
        rows += [_row(**same, **_found(finding)) for finding in findings[:_MOST_FINDINGS]]
        rows.append(
            _row(
                **same,
                event="finished",
                records=outcome.records,
                gaps=outcome.gaps,
                horizon=outcome.horizon,
                open_since=outcome.open_since,
                duration_ms=outcome.duration_ms,
            )
        )
        await self._insert(rows, f"reconciliation:{outcome.run}", outcome.run)

    async def _insert(self, rows: Sequence[Row], token: str, run: str = "") -> None:
        """Insert one block, once: where the first try wasn't answered, look before trying again."""
        what = f"insert into {RECONCILIATIONS.name}"
        try:
            while True:
                lease = await self._patience.persist(self.now, "read the clock") + LEASE_MS
                try:
                    await self._clickhouse.insert(RECONCILIATIONS, rows, token, lease)
                except LeaseOver:
                    continue
                except Unavailable as error:
                    await self._patience.wait(error, what)
                    if run and await self._recorded(run):
                        return
                else:
                    return
        finally:
            self._patience.over(what)

    async def _recorded(self, run: str) -> bool:
        async def look() -> bool:
            return bool((await self._rows("recorded", {"run": run}))[0][0])

        return await self._patience.persist(look, "read the reconciliations")

    async def _rows(self, name: str, parameters: dict[str, Any] | None = None) -> list[Sequence[Any]]:
        names = self._names if name != "now" else {}
        return await self._clickhouse.query(query(name, **names), parameters)


def _row(**values: Any) -> Row:
    """A row with these values; the others give nothing."""
    nothing = {
        k: None if v.startswith("Nullable") else "" if "String" in v else 0 for k, v in _COLUMNS.items()
    }
    return tuple((nothing | values).values())


def _compared(checked: Iterable[Checked]) -> Iterable[dict[str, Any]]:
    for each in checked:
        same = {"event": "compared", "topic": each.at[0], "partition": each.at[1]}
        stretches = [(start, end, 0) for start, end in each.clean]
        stretches += [(start, end, max(1, each.gaps)) for start, end in each.dirty]
        # Where nothing was new, where it stands must not be forgotten.
        for start, end, gaps in stretches or [(each.end, each.end, 0)]:
            yield {**same, "position_from": start, "position_to": end, "gaps": gaps}


def _sealed(seal: Seal) -> dict[str, Any]:
    return {
        "event": "compared",
        "topic": seal.at[0],
        "partition": seal.at[1],
        "position_from": seal.start,
        "position_to": seal.end,
        "table": seal.table,
        "rows": seal.rows,
        "digest": seal.digest,
    }


def _found(finding: Finding) -> dict[str, Any]:
    return {
        "event": "finding",
        "topic": finding.topic,
        "partition": finding.partition,
        "position_from": finding.first,
        "position_to": finding.last,
        "table": finding.table,
        "kind": finding.kind,
        "tenant": finding.tenant,
        "request_id": finding.request_id,
        "subject": finding.subject,
        "count": finding.count,
        "mended": finding.mended,
        "gaps": finding.count if finding.is_gap else 0,
        "note": finding.note,
    }
