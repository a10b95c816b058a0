"""Gathering: when a chunk is due, what it holds, and how positions without records are covered."""

from schemas.records import DeadLetter
from sinks.chunks import Gatherer, Limits
from sinks.ledger import Range
from sinks.mapping import Mapped

A, B = ("llm.usage", 0), ("llm.usage", 1)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def mapped(*offsets: int, size: int = 10) -> Mapped:
    rows = {"usage": [(f"row {o}", "llm.usage", 0, o, 1) for o in offsets]}
    return Mapped(rows=rows, records=len(offsets), size=size * len(offsets), oldest=min(offsets))


def gatherer(clock: Clock, **limits: float) -> Gatherer:
    made = Gatherer(Limits(**limits), clock)  # type: ignore[arg-type]
    made.open(A, 5)
    made.open(B, 0)
    return made


def test_a_chunk_is_due_after_its_first_record_has_lingered() -> None:
    clock = Clock()
    g = gatherer(clock, linger=0.5)
    assert g.due_in() is None and g.take() is None
    g.add(A, mapped(5), 6)
    clock.now += 0.2
    g.add(A, mapped(6), 7)
    assert round(g.due_in() or 0, 3) == 0.3
    clock.now += 0.4
    assert g.due_in() == 0


def test_a_busy_chunk_lingers_longer() -> None:
    clock = Clock()
    g = gatherer(clock, linger=0.5, busy_linger=2, busy_rows=3)
    g.add(A, mapped(5, 6), 7)
    assert g.due_in() == 0.5
    g.add(A, mapped(7), 8)
    assert g.due_in() == 2
    clock.now += 2
    assert g.due_in() == 0


def test_in_a_flood_a_chunk_lingers_so_long_that_it_is_in_by_its_time() -> None:
    clock = Clock()
    g = gatherer(clock, linger=0.5, busy_linger=1, busy_rows=2, flood_s=3, flood_rows=4)
    g.add(A, mapped(5, 6, 7), 8)
    assert g.due_in() == 1
    g.add(A, mapped(8), 9)
    assert g.due_in() == 3
    g.wrote(0.5)
    assert g.due_in() == 2.5
    g.wrote(0.5)
    assert g.due_in() == 2.5
    g.wrote(600)  # an outage
    assert g.due_in() == 1
    for _ in range(60):
        g.wrote(0.5)
    assert round(g.due_in() or 0, 2) == 2.5
    clock.now += 3
    assert g.due_in() == 0


def test_a_full_chunk_is_due_at_once() -> None:
    by_rows, by_size = gatherer(Clock(), rows=2), gatherer(Clock(), size=15)
    for g in (by_rows, by_size):
        g.add(A, mapped(5), 6)
        assert not g.full
        g.add(A, mapped(6), 7)
        assert g.full and g.due_in() == 0


def test_ranges_follow_one_another_without_holes() -> None:
    g = gatherer(Clock())
    g.add(A, mapped(5, 8), 9)
    g.reach(A, 11)  # two markers behind the last record
    g.reach(B, 4)  # nothing but markers
    chunk = g.take()
    assert chunk is not None and chunk.ranges == (Range(*A, 5, 11),)
    assert g.settled() == {A: 11, B: 4}
    g.add(A, mapped(14), 15)
    g.add(B, mapped(6), 7)
    chunk = g.take()
    assert chunk is not None and chunk.ranges == (Range(*A, 11, 15), Range(*B, 0, 7))
    assert [row[0] for row in chunk.mapped.rows["usage"]] == ["row 14", "row 6"]


def test_a_chunk_carries_the_gap_before_it_once() -> None:
    g = gatherer(Clock())
    assert g.skip(A, 50) == Range(*A, 5, 50)
    g.add(A, mapped(50), 51)
    chunk = g.take()
    assert chunk is not None and (chunk.ranges, chunk.gaps) == ((Range(*A, 50, 51),), (Range(*A, 5, 50),))
    g.add(A, mapped(51), 52)
    chunk = g.take()
    assert chunk is not None and chunk.gaps == ()


def test_what_is_closed_is_forgotten_and_no_longer_counted() -> None:
    g = gatherer(Clock(), rows=3)
    g.add(A, mapped(5, 6), 7)
    g.add(B, mapped(0, 1), 2)
    assert g.full
    g.close([A])
    assert not g.full and (g.rows, g.size) == (2, 20)
    g.close([B])
    assert g.empty and g.due_in() is None and g.take() is None


def test_records_without_rows_are_chunks_too() -> None:
    g = gatherer(Clock())
    letter = DeadLetter(
        id="x", kind="undecodable", stage="sink", reason="undecodable", message="", at=1,
        source_topic="t", source_partition=0, source_offset=5, source_timestamp=1,
    )  # fmt: skip
    g.add(A, Mapped(rejected=[letter], records=1, size=5, oldest=1), 6)
    chunk = g.take()
    assert chunk is not None and chunk.mapped.rejected == [letter] and chunk.mapped.row_count == 0
