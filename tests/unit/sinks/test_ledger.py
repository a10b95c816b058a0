"""The ledger's decisions: one case for each cell of the table in `decide`, and what a state allows."""

import pytest

from sinks.ledger import Busy, Excluded, Intent, NotNew, Range, State, Verdict, decide, token

STORED = (100, 200)


def r(start: int, end: int, topic: str = "llm.usage", partition: int = 3) -> Range:
    return Range(topic, partition, start, end)


@pytest.mark.parametrize(
    ("stored", "batch", "verdict"),
    [
        pytest.param(None, (7, 9), Verdict.NEW, id="nothing stored"),
        pytest.param(STORED, (200, 201), Verdict.NEW, id="starts at the stored end"),
        pytest.param(STORED, (100, 200), Verdict.SAME, id="the stored range"),
        pytest.param(STORED, (40, 100), Verdict.PREVIOUS, id="ends where stored starts"),
        pytest.param(STORED, (40, 99), Verdict.PREVIOUS, id="ends before stored starts"),
        pytest.param(STORED, (100, 199), Verdict.CONTAINED, id="within, same start"),
        pytest.param(STORED, (101, 200), Verdict.CONTAINED, id="within, same end"),
        pytest.param(STORED, (120, 130), Verdict.CONTAINED, id="within"),
        pytest.param(STORED, (40, 101), Verdict.CONTAINED, id="starts before, ends within"),
        pytest.param(STORED, (40, 200), Verdict.CONTAINED, id="starts before, same end"),
        pytest.param(STORED, (100, 201), Verdict.OVERLAP, id="same start, ends beyond"),
        pytest.param(STORED, (199, 300), Verdict.OVERLAP, id="starts within, ends beyond"),
        pytest.param(STORED, (40, 300), Verdict.OVERLAP, id="around"),
        pytest.param(STORED, (201, 300), Verdict.GAP, id="starts beyond the stored end"),
    ],
)
def test_decide(stored: tuple[int, int] | None, batch: tuple[int, int], verdict: Verdict) -> None:
    assert decide(r(*stored) if stored else None, r(*batch)) is verdict


@pytest.mark.parametrize("batch", [r(5, 5), r(6, 5)])
def test_decide_refuses_an_empty_range(batch: Range) -> None:
    with pytest.raises(ValueError, match="empty"):
        decide(None, batch)


@pytest.mark.parametrize("other", [r(200, 300, partition=4), r(200, 300, topic="llm.audit")])
def test_decide_refuses_another_partition(other: Range) -> None:
    with pytest.raises(ValueError, match="different partitions"):
        decide(r(*STORED), other)


def intent(name: str, *ranges: Range) -> Intent:
    return Intent(id=name, ranges=ranges, mapping=1)


def test_an_intent_takes_its_ranges_and_stays_open_until_it_is_finished() -> None:
    state = State().intend(intent("a", r(0, 10), r(0, 5, partition=4)))
    assert (state.tip(("llm.usage", 3)), state.tip(("llm.usage", 4))) == (r(0, 10), r(0, 5, partition=4))
    with pytest.raises(Busy):
        state.intend(intent("b", r(10, 20)))
    state = state.intend(intent("c", r(0, 7, topic="llm.audit")))  # touches none of a's partitions
    assert [i.id for i in state.finish("a").open] == ["c"]
    assert state.finish("a").intend(intent("b", r(10, 20))).tip(("llm.usage", 3)) == r(10, 20)


def test_a_range_that_is_not_new_is_refused_with_its_verdict_and_leaves_the_state() -> None:
    state = State().intend(intent("a", r(0, 10), r(0, 10, partition=4))).finish("a")
    with pytest.raises(NotNew) as refused:
        state.intend(intent("b", r(5, 12), r(10, 12, partition=4)))
    assert refused.value.verdicts == {r(5, 12): Verdict.OVERLAP}
    assert "llm.usage-3 [5, 12): overlap" in str(refused.value)
    assert state.tip(("llm.usage", 4)) == r(0, 10, partition=4)


def test_only_a_gap_that_kafka_has_deleted_is_bridged() -> None:
    state = State().intend(intent("a", r(0, 10))).finish("a")
    with pytest.raises(NotNew):
        state.intend(intent("b", r(15, 20)))
    with pytest.raises(NotNew):
        state.intend(intent("b", r(15, 20)), gaps=[r(11, 15)])
    assert state.intend(intent("b", r(15, 20)), gaps=[r(10, 15)]).tip(("llm.usage", 3)) == r(15, 20)


def test_excluded_rows_are_kept_with_their_open_intent_only() -> None:
    first, second = Excluded("usage", "llm.usage", 3, 7), Excluded("usage", "llm.usage", 3, 2)
    state = State().intend(intent("a", r(0, 10))).exclude("a", [first]).exclude("a", [second, first])
    found = state.find("a")
    assert found is not None and found.excluded == (second, first)
    assert state.finish("a").exclude("a", [first]) == state.finish("a")


def test_a_token_names_table_and_ranges_whatever_their_order() -> None:
    assert token("usage", [r(100, 200)]) == "usage:llm.usage-3-100-199"
    two = [r(0, 10), r(0, 10, partition=4)]
    assert token("usage", two) == token("usage", reversed(two))
    others = {token("usage", two), token("usage", two, again=1), token("audit", two), token("usage", two[:1])}
    assert len(others) == 4
