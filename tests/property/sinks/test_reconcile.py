"""A reconciliation finds exactly what differs, whatever differs, and repairs it exactly once, whatever fails."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import ids
from schemas.records import DeadLetter
from sinks.landing import Parts
from sinks.metrics import NoMetrics
from sinks.patience import Patience
from sinks.reconcile.excuses import Excuses
from sinks.reconcile.findings import Checked, Finding, Kind
from sinks.reconcile.pace import Pace
from sinks.reconcile.partition import PartitionCheck, Tools
from sinks.reconcile.reasons import LetterRow
from sinks.reconcile.repair import Repairer
from tests.fakes.reconciled import AT, UNDECODABLE, Record, Rows, Source, Topic, Words, row_of
from tests.fakes.sink_store import Contents, Fault, SinkStore

TABLES = ("bodies", "result_notices", "results")
CONTENTS = st.sampled_from([("results",), ("results", "bodies"), ("result_notices",), (UNDECODABLE,)])
FULLEST = (frozenset({"results", "bodies"}), frozenset({"result_notices"}))
Place = tuple[str, int]


@dataclass
class Case:
    """Records, what the tables hold of them, and what a comparison must say of that."""

    topic: Topic
    rows: Rows
    missing: set[Place]
    doubled: set[Place]
    strays: set[Place]
    letterless: set[int]
    explained: int

    @property
    def expected(self) -> Counter[Place]:
        """The rows as they are to be in the end, but strays."""
        return Counter((t, r.offset) for r in self.topic.records for t in r.content if t != UNDECODABLE)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    records, offset = [], draw(st.integers(0, 5))
    for content, hole in draw(st.lists(st.tuples(CONTENTS, st.integers(0, 2)), max_size=40)):
        records.append(Record(offset, content))
        offset += 1 + hole
    end = offset + draw(st.integers(0, 3))
    contents, letters = Contents(), list[LetterRow]()
    case = Case(Topic(records, end), Rows(contents, letters), set(), set(), set(), set(), 0)
    for record in records:
        if UNDECODABLE in record.content:
            if draw(st.booleans()):
                letters.append(LetterRow(ids.dead_letter_id(*AT, record.offset), UNDECODABLE, "garbage"))
                case.explained += 1
            else:
                case.letterless.add(record.offset)
            continue
        for table in record.content:
            copies = draw(st.sampled_from([1] * 6 + [0, 2, 3]))
            contents.tables.setdefault(table, []).extend([row_of(table, record.offset)] * copies)
            if copies > 1:
                case.doubled.add((table, record.offset))
            if copies == 0 and draw(st.integers(0, 4)) == 0:
                why = f"{table}: out of range"
                letters.append(LetterRow(ids.dead_letter_id(*AT, record.offset), "refused", why))
                case.explained += 1
            elif copies == 0:
                case.missing.add((table, record.offset))
    for table, at in draw(st.sets(st.tuples(st.sampled_from(TABLES), st.integers(0, end)), max_size=3)):
        there = next((r.content for r in records if r.offset == at), ())
        # A row too many that makes a record's set a fullest one isn't told from one that it makes (see `compare`).
        hidden = bool(there) and (UNDECODABLE in there or {table} in FULLEST or {*there, table} in FULLEST)
        if at < end and not hidden and table not in there:
            contents.tables.setdefault(table, []).append(row_of(table, at))
            case.strays.add((table, at))
    for rows in contents.tables.values():
        rows.sort(key=lambda row: draw(st.integers(0, 9)))
    return case


def tools(case: Case, draw: Any, repairer: Repairer | None = None) -> Tools:
    return Tools(
        topics=case.topic,  # type: ignore[arg-type]
        database=case.rows,  # type: ignore[arg-type]
        mapper=Words(),
        excuses=excuses(case),
        repairer=repairer,
        pace=Pace(1, lambda: 0.0),
        tables={AT[0]: TABLES},
        fullest={AT[0]: draw(st.sampled_from([(), FULLEST]))},
        window=draw(st.integers(1, 60)),
    )


def excuses(case: Case) -> Excuses:
    async def tail() -> Iterable[LetterRow]:
        return []

    return Excuses(case.rows, tail, {}, now=100)


async def compare(case: Case, draw: Any, repairer: Repairer | None = None) -> PartitionCheck:
    checked = PartitionCheck(tools(case, draw, repairer), Checked(AT, 0, case.topic.end))
    await checked.run([(0, case.topic.end)])
    return checked


def told(findings: Sequence[Finding], kind: Kind, wrong: set[Place], neighbours: set[int]) -> set[Place]:
    """The places that findings tell: a run of them is of `neighbours` that are all wrong, and says how many."""
    places: set[Place] = set()
    for finding in (f for f in findings if f.kind is kind):
        between = {o for o in neighbours if finding.first <= o <= finding.last}
        mine = {(finding.table, o) for o in between}
        assert mine <= wrong and finding.count == len(mine) and {finding.first, finding.last} <= between
        assert not places & mine
        places |= mine
    return places


@settings(max_examples=300, deadline=None)
@given(cases(), st.data())
def test_what_differs_is_found_exactly(case: Case, data: st.DataObject) -> None:
    check = asyncio.run(compare(case, data.draw))
    letterless = {("", o) for o in case.letterless}
    records, positions = {r.offset for r in case.topic.records}, set(range(case.topic.end))
    assert told(check.findings, Kind.MISSING, case.missing, records) == case.missing
    assert told(check.findings, Kind.DUPLICATED, case.doubled, positions) == case.doubled
    assert told(check.findings, Kind.STRAY, case.strays, positions) == case.strays
    assert told(check.findings, Kind.NO_LETTER, letterless, records) == letterless
    assert sum(check.checked.explained.values()) == case.explained
    wrong = len(case.missing) + len(case.doubled) + len(case.strays) + len(case.letterless)
    assert check.checked.gaps == sum(f.count for f in check.findings) == wrong
    dirty = {o for start, end in check.checked.dirty for o in range(start, end)}
    assert {o for _, o in case.missing | case.doubled | case.strays | letterless} <= dirty
    clean = {o for start, end in check.checked.clean for o in range(start, end)}
    assert clean | dirty == set(range(case.topic.end)) and not clean & dirty
    assert check.checked.records == len(case.topic.records)


class Killed(BaseException):
    """The process is gone."""


FAULTS = st.sampled_from(["none"] * 8 + ["before", "after", "half", "forgets_token", "forgets_rows"])


class Letters:
    """Publishes letters, which land at once."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def publish(self, letters: Sequence[DeadLetter]) -> None:
        self._rows.letters += [LetterRow(each.id, each.reason, each.message) for each in letters]


def repairer(case: Case, draw: Any, faulty: bool) -> Repairer:
    """One whose requests fail as `draw` says, and which may be killed at any of them."""
    left = draw(st.integers(1, 60)) if faulty and draw(st.booleans()) else 10_000

    async def gate(what: str) -> Fault:
        nonlocal left
        left -= 1
        for _ in range(draw(st.integers(0, 2))):
            await asyncio.sleep(0)
        if left <= 0:
            raise Killed
        fault: Fault = draw(FAULTS) if faulty else "none"
        return fault

    async def sleep(_: float) -> None:
        await asyncio.sleep(0)

    parts = Parts(
        store=SinkStore(case.rows.contents, gate),
        dead_letters=Letters(case.rows),
        metrics=NoMetrics(),
        patience=Patience(NoMetrics(), sleep=sleep),
        clock=lambda: case.rows.contents.now / 1000,
        crash_point=lambda name: None,
        worker="w",
    )
    tables = {AT[0]: TABLES}
    return Repairer(parts, case.rows, Words(), Source(case.topic), excuses(case), tables)  # type: ignore[arg-type]


async def repair(case: Case, draw: Any) -> list[PartitionCheck]:
    """Up to three repairs side by side, some of which die, and one more that ends what they left."""

    async def one(faulty: bool) -> PartitionCheck | None:
        mender = repairer(case, draw, faulty)
        try:
            await mender.finish_open()
            return await compare(case, draw, mender)
        except Killed:
            return None

    await asyncio.gather(*(one(True) for _ in range(draw(st.integers(0, 3)))))
    last = await one(False)
    assert last is not None
    return [last, await compare(case, draw)]


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases(), st.data())
def test_a_repair_puts_each_row_there_once_whatever_fails_meanwhile(case: Case, data: st.DataObject) -> None:
    excused = {(t, r.offset) for r in case.topic.records for t in r.content} & {
        (each.message.partition(":")[0], int(each.id.rpartition("-")[2]))
        for each in case.rows.letters
        if each.reason == "refused"
    }
    last, after = asyncio.run(repair(case, data.draw))
    found = Counter((t, row[-2]) for t, rows in case.rows.contents.tables.items() for row in rows)
    for place in case.strays:
        found[place] -= 1
    expected = case.expected
    for place in excused:
        del expected[place]
    assert +found == expected
    assert {f.kind for f in after.findings} <= {Kind.STRAY}
    assert last.checked.gaps == len(case.strays) == after.checked.gaps
    lettered = {int(each.id.rpartition("-")[2]) for each in case.rows.letters if each.reason == UNDECODABLE}
    assert lettered == {r.offset for r in case.topic.records if UNDECODABLE in r.content}
