"""What a run says of records that have not landed, of gaps whose records are gone, and of counts of faults."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sinks.ledger import Range, State
from sinks.mapping import Mapped
from sinks.reconcile.accounts import MOST_TOLD, Accounts, Period, Terms, check
from sinks.reconcile.bounds import Asked, Edges, plan
from sinks.reconcile.excuses import Excuses, Missing
from sinks.reconcile.findings import Checked, Finding, Kind
from sinks.reconcile.pace import Pace
from sinks.reconcile.partition import PartitionCheck, Tools
from sinks.reconcile.run import Run, Sources, Wanted
from tests.fakes.reconciled import AT, Record, Rows, Words
from tests.fakes.reconciled import Topic as Records
from tests.fakes.sink_store import Contents

FRESH = 300_000
BEGAN = 10_000_000


class Topic:
    """A topic whose only unread record has `timestamp`."""

    def __init__(self, timestamp: int) -> None:
        self._timestamp = timestamp

    async def first_from(self, at: Any, start: int, end: int) -> Record:
        return Record(start, ("results",), timestamp=self._timestamp)


async def waiting(
    timestamp: int, wanted: Wanted, asked: Asked, now: int
) -> tuple[int, Checked, list[Finding]]:
    """Of a topic with 20 records, of which 10 had landed when the run began: the horizon, and what is told."""
    sources = Sources("", {}, "", None, None, "w", lambda r: r, lambda: now)  # type: ignore[arg-type]
    run = Run(sources, wanted, State((Range(*AT, 0, 10),)), "run")
    run._at, run._edges = BEGAN, {AT: Edges(0, 20)}
    checked = Checked(AT, 0, 10)
    found = await run._waiting(Topic(timestamp), plan(AT, 10, Edges(0, 20), asked), checked)  # type: ignore[arg-type]
    return found, checked, run.report.findings


async def test_a_long_run_calls_nothing_late_that_was_fresh_when_it_began() -> None:
    horizon, checked, found = await waiting(BEGAN - 1_000, Wanted(), Asked(0, 99), BEGAN + 3_600_000)
    assert (horizon, checked.waiting, found) == (BEGAN - 1_000, 10, [])


async def test_a_part_is_late_where_it_has_not_landed() -> None:
    old, part = BEGAN - FRESH - 1, Wanted("part", 0, BEGAN - 1_000)
    _, checked, [late] = await waiting(old, part, Asked(0, 15), BEGAN)
    assert (late.kind, late.first, late.last, late.count, checked.waiting) == (Kind.LATE, 10, 14, 5, 5)
    horizon, checked, found = await waiting(old, part, Asked(0, 10), BEGAN)
    assert (horizon, checked.waiting, found) == (old, 0, []), "what waits behind it is another part's"


class Counts:
    """Answers as ClickHouse would that has 1500 attempts without usage, of which the first 1000 are none."""

    async def rows(self, name: str, parameters: Mapping[str, Any], **names: str) -> list[Sequence[Any]]:
        if name == "attempts_and_usage":
            found = [("no_usage", "t", "r", f"a{n}") for n in range(1_500)][: parameters["most"]]
            return [(9_000, 0, 0, 1_500, found)]
        if name == "known_attempts":
            return [(i, "no_usage") for i in parameters["ids"] if int(i[1:]) < MOST_TOLD]
        nothing: dict[str, list[Sequence[Any]]] = {
            "count_since": [(1,)], "requests_and_results": [(0, 0, 0, 0, [])], "issued_and_settled": [(0, [])]
        }  # fmt: skip
        return nothing.get(name, [])


async def test_faults_beyond_those_that_are_told_are_looked_at_too() -> None:
    accounts: Accounts = await check(Counts(), Period(0, 9, 9, 0), Terms())  # type: ignore[arg-type]
    assert sum(f.count for f in accounts.findings) == 500
    assert {f.subject for f in accounts.findings} == {f"a{n}" for n in range(1_000, 1_500)}


async def test_missing_texts_are_held_by_the_megabyte_not_by_number() -> None:
    class Long(Words):
        async def map(self, records: Iterable[Any]) -> Mapped:
            mapped = await super().map(records)
            mapped.size = 10 << 20
            return mapped

    judged: list[int] = []

    class Counting(Excuses):
        async def why(self, at: Any, missing: Sequence[Missing], tables: Any) -> dict[tuple[str, int], str]:
            judged.append(len(missing))
            return {}

    async def tail() -> list[Any]:
        return []

    rows = Rows(Contents())
    topic = Records([Record(n, ("results",)) for n in range(5)], 5, piece=1)
    at_hand: Any = {"topics": topic, "database": rows}
    tools = Tools(
        **at_hand,
        mapper=Long(),
        excuses=Counting(rows, tail, {}, 1),
        repairer=None,
        pace=Pace(1, lambda: 0.0),
        tables={AT[0]: ("results",)},
        fullest={AT[0]: ()},
    )
    await PartitionCheck(tools, Checked(AT, 0, 5)).run([(0, 5)])
    assert judged == [2, 2, 1]


class Digests:
    """A database of which every range of a table holds a row."""

    async def digests(self, table: str, ranges: Sequence[Range]) -> dict[Range, tuple[int, int]]:
        return dict.fromkeys(ranges, (1, 1))


def run_of(first: int, dirty: tuple[tuple[int, int], ...] = ()) -> tuple[Run, Checked]:
    sources = Sources("", {}, "", Digests(), None, "w", lambda r: r)  # type: ignore[arg-type]
    run = Run(sources, Wanted(), State(), "run")
    run._edges, run._dirty = {AT: Edges(first, 99)}, {AT: dirty}
    checked = Checked(AT, 0, 50, clean=[(0, 50)])
    run.report.checked.append(checked)
    return run, checked


async def test_what_a_new_table_lacks_is_not_sealed_as_right() -> None:
    """A repair fills it in later, and a seal of before would be called changed then."""
    run, _ = run_of(0)
    run.report.findings.append(Finding(Kind.NEW_TABLE, "decisions", *AT, 3, 9, 7))
    seals = await run._seals({AT[0]: ["audit", "bodies", "decisions"]})
    assert {s.table for s in seals} == {"audit"}


async def test_a_gap_that_nobody_mended_is_told_when_kafka_deletes_its_records() -> None:
    run, checked = run_of(30, dirty=((10, 40),))
    run._forgotten(checked)
    [lost] = run.report.findings
    assert (lost.kind, lost.first, lost.last, checked.gaps, run.report.gaps) == (Kind.LOST, 10, 29, 1, 1)
