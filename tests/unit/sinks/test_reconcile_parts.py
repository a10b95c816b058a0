"""The parts of a reconciliation, one by one: what is compared, what explains what is missing, what is kept of it."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from sinks.ledger import Intent, Range, State
from sinks.reconcile.bounds import Asked, Edges, forgotten, landed_to, plan
from sinks.reconcile.deleted import breaks
from sinks.reconcile.excuses import EXPIRED, LETTER, NEW_TABLE, Excuses, Missing
from sinks.reconcile.findings import MEANINGS, Checked, Finding, Kind, runs
from sinks.reconcile.fullest import FULLEST
from sinks.reconcile.pace import Pace
from sinks.reconcile.reasons import LetterRow
from sinks.reconcile.repair import in_groups, ranges_of
from sinks.reconcile.seals import Seal, cover, covered, joined, together
from sinks.rows import EVENT_OF_TOPIC, rows_of
from sinks.tables import TABLES
from tests.fakes import sink_events as events
from tests.fakes.reconciled import AT, Rows
from tests.fakes.sink_store import Contents
from tests.fakes.sink_topics import Record

ALL = Asked(0, 2**63 - 1)
DAY = 86_400_000


def state(end: int, *open_starts: int) -> State:
    intents = [Intent(str(start), (Range(*AT, start, end),), 1) for start in open_starts]
    return State(tips=(Range(*AT, 0, end),), open=tuple(intents))


@pytest.mark.parametrize(
    ("ledger", "edges", "asked", "spans", "deleted"),
    [
        (state(10), Edges(0, 20), ALL, ((0, 10),), None),
        (state(10, 6), Edges(0, 20), ALL, ((0, 6),), None),
        (state(10), Edges(4, 20), ALL, ((4, 10),), (0, 4)),
        (state(10), Edges(15, 20), ALL, (), (0, 10)),
        (state(10), Edges(0, 20), Asked(3, 7), ((3, 7),), None),
        (state(10), Edges(5, 20), Asked(3, 7), ((5, 7),), (3, 5)),
        (state(10), Edges(0, 20), Asked(8, 99, ((1, 3), (8, 99))), ((1, 3), (8, 10)), None),
        (State(), Edges(0, 20), ALL, (), None),
    ],
    ids=["tip", "open", "deleted", "all_deleted", "part", "part_deleted", "stretches", "unknown"],
)
def test_what_has_landed_and_is_asked_for_is_compared(
    ledger: State, edges: Edges, asked: Asked, spans: Any, deleted: Any
) -> None:
    found = plan(AT, landed_to(ledger, AT), edges, asked)
    assert (found.spans, found.deleted, found.recreated) == (spans, deleted, False)


def test_a_topic_that_ends_before_what_has_landed_is_another_topic() -> None:
    assert plan(AT, 10, Edges(0, 9), ALL).recreated


def test_runs_end_where_a_record_in_between_is_right() -> None:
    assert list(runs([(0, 5), (1, 9), (3, 20), (4, 21)])) == [(5, 9, 2), (20, 21, 2)]
    assert list(runs([])) == []


def test_stretches_grow_together_and_keep_apart_what_differs() -> None:
    checked = Checked(AT, 0, 40)
    for start, clean in ((0, True), (10, True), (20, False), (30, True)):
        checked.note(start, start + 10, clean)
    assert (checked.clean, checked.dirty) == ([(0, 20), (30, 40)], [(20, 30)])


def test_every_kind_says_what_it_means_and_where() -> None:
    assert MEANINGS.keys() == set(Kind)
    assert Finding(Kind.MISSING, "usage", "llm.usage", 3, 7, 7).place == "usage: llm.usage-3 offset 7"
    assert Finding(Kind.STRAY, "usage", "llm.usage", 3, 7, 9, 2).place == "usage: llm.usage-3 offsets 7-9"
    assert Finding(Kind.NO_USAGE, tenant="t", request_id="r", subject="a").place == "r (t) a"
    assert not Finding(Kind.MISSING, mended=True).is_gap and not Finding(Kind.NEW_TABLE).is_gap


# -- what explains a row that isn't there ----------------------------------------------------------------------


def made(table: str, offset: int = 5, **values: Any) -> Missing:
    columns = TABLES[table].columns
    given = {
        "tenant": "t",
        "completed_at": 1_000,
        "retention_days": 0,
        "user": "ann",
        "kafka_timestamp": 1_000,
    }
    row = (*((given | values).get(name, 0) for name in columns[:-4]), *AT, offset, 1_000)
    return Missing(0, offset, table, row)


async def why(
    missing: Missing, rows: Rows, tail: Iterable[LetterRow] = (), made_at: Mapping[str, int] | None = None
) -> str | None:
    async def waiting() -> Iterable[LetterRow]:
        return tail

    excuses = Excuses(rows, waiting, made_at or {}, now=10 * DAY)
    found = await excuses.why(AT, [missing], ["results"])
    return found.get((missing.table, missing.offset))


def letter(message: str, reason: str = "refused", offset: int = 5) -> LetterRow:
    return LetterRow(f"{AT[0]}-{AT[1]}-{offset}", reason, message)


async def test_a_dead_letter_explains_the_table_that_it_names_or_all() -> None:
    assert await why(made("results"), Rows(Contents(), [letter("results: too long")])) == LETTER
    assert await why(made("results"), Rows(Contents(), [letter("bodies: too long")])) is None
    assert await why(made("results"), Rows(Contents(), [letter("a table refuses it")])) == LETTER
    assert await why(made("results"), Rows(Contents(), [letter("bodies: x", "undecodable")])) == LETTER
    assert await why(made("results"), Rows(Contents(), [letter("results: x", offset=50)])) is None
    assert await why(made("results"), Rows(Contents()), [letter("results: it has not landed yet")]) == LETTER


async def test_a_text_whose_days_are_over_is_no_gap() -> None:
    landed = Contents(tables={"results": [made("results").row]})
    assert await why(made("bodies", retention_days=3), Rows(landed, landed=7 * DAY)) == EXPIRED
    assert await why(made("bodies", retention_days=3), Rows(landed, landed=8 * DAY)) is None
    assert await why(made("bodies", retention_days=0), Rows(landed, landed=1)) is None
    # Where its result isn't there either, the record's own time counts.
    assert await why(made("bodies", retention_days=3), Rows(Contents())) == EXPIRED
    assert await why(made("dead_letters", retention_days=3), Rows(Contents())) is None


async def test_a_text_whose_days_end_during_a_long_comparison_is_no_gap() -> None:
    seconds = 0.0

    async def waiting() -> Iterable[LetterRow]:
        return []

    landed = Contents(tables={"results": [made("results").row]})
    rows = Rows(landed, landed=7 * DAY + 60_000)
    excuses = Excuses(rows, waiting, {}, now=10 * DAY, clock=lambda: seconds)
    text = made("bodies", retention_days=3)
    assert await excuses.why(AT, [text], ["results"]) == {}
    seconds = 60.0
    assert await excuses.why(AT, [text], ["results"]) == {("bodies", 5): EXPIRED}


async def test_a_text_under_a_legal_hold_does_not_expire() -> None:
    landed = Contents(tables={"results": [made("results").row]})
    assert await why(made("bodies", retention_days=3, held=True), Rows(landed, landed=1)) is None


async def test_what_landed_before_its_table_existed_is_told_apart() -> None:
    landed = Contents(tables={"results": [made("results").row]})
    assert await why(made("bodies"), Rows(landed, landed=40), made_at={"bodies": 50}) == NEW_TABLE
    assert await why(made("bodies"), Rows(landed, landed=60), made_at={"bodies": 50}) is None
    assert await why(made("bodies"), Rows(Contents(), landed=40), made_at={"bodies": 50}) is None


# -- what earlier runs have seen -------------------------------------------------------------------------------


def seal(start: int, end: int, rows: int = 1, digest: int = 1) -> Seal:
    return Seal("usage", AT, start, end, rows, digest)


def test_seals_cover_without_overlaps_and_the_longest_counts() -> None:
    found = cover([seal(5, 9), seal(0, 3), seal(0, 5), seal(2, 7), seal(20, 30), seal(9, 12)], below=20)
    assert [(s.start, s.end) for s in found] == [(0, 5), (5, 9), (9, 12)]


def test_seals_that_overlap_leave_nothing_unsealed_that_one_of_them_covers() -> None:
    """When Kafka has deleted records, a later run's seal begins within an earlier one's."""
    found = cover([seal(0, 100), seal(50, 150), seal(150, 200)], below=180)
    assert [(s.start, s.end) for s in found] == [(0, 100), (50, 150), (150, 200)]
    assert covered(found, 20, 180) == 160
    assert covered([seal(0, 5), seal(9, 12)], 2, 20) == 6


def test_gaps_that_kafka_has_deleted_are_not_forgotten() -> None:
    assert forgotten([(0, 10), (20, 40), (50, 60)], first=30) == ((0, 10), (20, 30))
    assert forgotten([(20, 40)], first=20) == ()


def test_adjacent_seals_add_up() -> None:
    runs_of = list(joined([seal(0, 5, 2, 2**64 - 1), seal(5, 9, 3, 7), seal(10, 12)]))
    assert [len(run) for run in runs_of] == [2, 1]
    assert together(runs_of[0]) == seal(0, 9, 5, 6)


def test_a_broken_chain_tells_how_many_are_missing_and_a_chain_begun_anew_is_none() -> None:
    assert list(breaks((9, 4), [(10, 5), (12, 6), (13, 9), (14, 10)])) == [(13, 9, 2)]
    assert list(breaks(None, [(10, 5), (11, 7)])) == [(11, 7, 1)]
    assert list(breaks(None, [(10, 5), (11, 1), (12, 2)])) == []
    assert list(breaks(None, [(10, 5), (11, 5), (12, 6)])) == []


# -- the rest --------------------------------------------------------------------------------------------------


def test_ranges_hold_the_offsets_and_are_few() -> None:
    assert ranges_of(AT, [9, 5, 6, 9]) == (Range(*AT, 5, 7), Range(*AT, 9, 10))
    assert ranges_of(AT, range(0, 1000, 2)) == (Range(*AT, 0, 999),)


def test_an_intent_of_a_repair_names_what_it_inserts_and_nothing_between() -> None:
    scattered = [made(table, offset) for offset in range(0, 400, 4) for table in ("results", "bodies")]
    groups = list(in_groups([*reversed(scattered), made("usage", 401), made("usage", 402)]))
    ranges = [ranges_of(AT, (m.offset for m in group)) for group in groups]
    assert [len(some) for some in ranges] == [50, 50, 1]
    assert {o for some in ranges for r in some for o in range(r.start, r.end)} == {
        *range(0, 400, 4), 401, 402
    }  # fmt: skip
    assert sum(map(len, groups)) == 202 and list(in_groups([])) == []


async def test_work_takes_its_share_of_the_time() -> None:
    times, slept = [0.0], []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    for share in (0.25, 1.0):
        pace = Pace(share, lambda: times[-1], sleep)
        pace.begin()
        times.append(times[-1] + 0.5)
        await pace.breathe()
    assert slept == [1.5, 0.0]


EVENTS = [
    events.result(1),
    events.result(1, "duplicate"),
    events.usage(1),
    events.audit(1),
    events.audit(1, "retried"),
    events.audit(1, "finalised"),
    events.attempt(1),
    events.dead_letter(1),
]


def test_no_record_has_more_rows_than_a_fullest_set_of_its_kind() -> None:
    assert set(FULLEST) == set(EVENT_OF_TOPIC.values())
    reached = set()
    for event in EVENTS:
        topic = next(t for t, kind in EVENT_OF_TOPIC.items() if kind is type(event))
        tables = {table for table, _ in rows_of(event, Record(topic, 0, 1, timestamp=events.T0))}
        for fullest in FULLEST[type(event)]:
            assert not tables > fullest
            reached |= {fullest} if tables == fullest else set()
    known = {kind for kind in FULLEST if any(isinstance(event, kind) for event in EVENTS)}
    assert reached == {s for kind in known for s in FULLEST[kind]}
    assert {t for sets in FULLEST.values() for s in sets for t in s} == set(TABLES)
