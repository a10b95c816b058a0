"""Whether what the tables hold adds up: accepted requests and results, attempts and usage, events told once.

What lies on Kafka is in the tables, as the comparison of offsets shows; so these questions are asked of ClickHouse
alone. They are judged as things stood at a *horizon*: a time up to which everything had landed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sinks.reconcile.findings import Finding, Kind
from sinks.reconcile.stored import Database

MOST_TOLD: Final = 1_000
"""Faults of a kind that are told one by one; the others are counted."""

FOR_EVER_MS: Final = 7_258_118_400_000  # 2200-01-01
_BUCKET_ROWS: Final = 2_000_000
_MOST_EXAMINED: Final = 100_000
_EVENT_TABLES: Final = ("results", "usage", "audit")
_CALL_MARGIN_MS: Final = 5_000


@dataclass(frozen=True, slots=True)
class Terms:
    """What was promised: a request ends `grace_ms` after its deadline, an attempt is settled `settle_ms` after it."""

    grace_ms: int = 30_000
    settle_ms: int = 25 * 3_600_000


@dataclass(frozen=True, slots=True)
class Period:
    """Requests accepted, and attempts begun, in [since, until) (ms), judged as things stood at `horizon`.

    `settled_since`: of requests that ended before that, an earlier run has judged whether all attempts were settled.
    """

    since: int
    until: int
    horizon: int
    settled_since: int


@dataclass(slots=True)
class Accounts:
    """What was looked at, and what is wrong. `open_since` (ms): of the oldest request or call that hasn't ended."""

    requests: int = 0
    open_requests: int = 0
    attempts: int = 0
    open_attempts: int = 0
    open_since: int | None = None
    findings: list[Finding] = field(default_factory=list)

    def older(self, ms: int | None, is_any: bool) -> None:
        """Note the oldest of some that are open, if there is any."""
        if is_any and ms is not None:
            self.open_since = ms if self.open_since is None else min(ms, self.open_since)


async def check(database: Database, period: Period, terms: Terms) -> Accounts:
    """Ask all questions of a period. Raises a StoreError."""
    accounts = Accounts()
    await _requests(database, period, terms, accounts)
    await _attempts(database, period, terms, accounts)
    await _settled(database, period, terms, accounts)
    await _events(database, period, accounts)
    return accounts


async def since_of_results(database: Database, since: int) -> int | None:
    """When the first was accepted of the requests whose results came since a time (ms); None where none came."""
    count, first = (await database.rows("first_accepted", {"since": since}))[0]
    return int(first) if count else None


async def _requests(database: Database, period: Period, terms: Terms, accounts: Accounts) -> None:
    told = _Told(accounts, "requests")
    for parameters in await _buckets(database, period, "requests"):
        parameters["grace"] = terms.grace_ms
        pairs, open_, oldest, faults, found = (await database.rows("requests_and_results", parameters))[0]
        accounts.requests += pairs
        accounts.open_requests += open_
        accounts.older(oldest, open_ or any(kind == Kind.NO_RESULT for kind, *_ in found))
        told.add(faults, [Finding(Kind(k), tenant=t, request_id=r) for k, t, r in found])


async def _attempts(database: Database, period: Period, terms: Terms, accounts: Accounts) -> None:
    told = _Told(accounts, "attempts")
    for parameters in await _buckets(database, period, "attempts"):
        parameters["grace"] = terms.grace_ms + _CALL_MARGIN_MS
        attempts, open_, oldest, faults, found = (await database.rows("attempts_and_usage", parameters))[0]
        accounts.attempts += attempts
        accounts.open_attempts += open_
        accounts.older(oldest, open_ or any(kind == Kind.NO_END for kind, *_ in found))
        if faults > len(found):  # some may be none: what isn't looked at can't be told from them
            parameters["most"] = _MOST_EXAMINED
            *_, faults, found = (await database.rows("attempts_and_usage", parameters))[0]
        findings = [Finding(Kind(k), tenant=t, request_id=r, subject=a) for k, t, r, a in found]
        confirmed = await _confirmed(database, findings)
        told.add(faults - (len(findings) - len(confirmed)), confirmed[:MOST_TOLD])


async def _confirmed(database: Database, findings: Sequence[Finding]) -> list[Finding]:
    """Those whose other half doesn't lie outside of the period either."""
    ids = [f.subject for f in findings if f.kind is not Kind.NO_END]
    known: set[tuple[str, Kind]] = set()
    for n in range(0, len(ids), MOST_TOLD):
        some = await database.rows("known_attempts", {"ids": ids[n : n + MOST_TOLD]})
        known |= {(i, Kind(kind)) for i, kind in some}
    return [f for f in findings if (f.subject, f.kind) not in known]


async def _settled(database: Database, period: Period, terms: Terms, accounts: Accounts) -> None:
    """Attempts that were never called have no journal: they are settled when their request is forgotten."""
    told = _Told(accounts, "usage")
    settled_by = min(period.horizon, period.until) - terms.settle_ms
    for parameters in await _buckets(database, period, "results"):
        parameters |= {"since": period.settled_since, "settled_by": max(0, settled_by)}
        faults, found = (await database.rows("issued_and_settled", parameters))[0]
        known = {(f.tenant, f.request_id) for f in accounts.findings if f.kind is Kind.NO_USAGE}
        findings = [
            Finding(Kind.NO_USAGE, tenant=t, request_id=r, count=n)
            for t, r, n in found
            if (t, r) not in known
        ]
        told.add(faults - (len(found) - len(findings)), findings)


async def _events(database: Database, period: Period, accounts: Accounts) -> None:
    for table in _EVENT_TABLES:
        for parameters in await _buckets(database, period, table):
            for event, tenant, request, _ in await database.rows("doubled_events", parameters, table=table):
                finding = Finding(
                    Kind.EVENT_TWICE, table, tenant=tenant, request_id=request or "", subject=event
                )
                accounts.findings.append(finding)


async def _buckets(database: Database, period: Period, table: str) -> list[dict[str, Any]]:
    """The parameters of each part of a question: some two million rows of `table` a part, by a hash."""
    rows = (await database.rows("count_since", {"since": period.since}, table=table))[0][0]
    buckets = 1 + rows // _BUCKET_ROWS
    shared = {"since": period.since, "until": period.until, "horizon": period.horizon, "most": MOST_TOLD}
    return [{**shared, "buckets": buckets, "bucket": n} for n in range(buckets)]


class _Told:
    """Tells findings of one question, and how many more there are, in a finding without a place."""

    def __init__(self, accounts: Accounts, table: str) -> None:
        self._accounts = accounts
        self._table = table

    def add(self, faults: int, found: Sequence[Finding]) -> None:
        self._accounts.findings += found
        more = faults - len(found)
        if more > 0:
            kind = found[0].kind if found else Kind.NO_USAGE
            note = f"and so many more like these; only {len(found)} of a kind are told"
            self._accounts.findings.append(Finding(kind, self._table, count=more, note=note))
