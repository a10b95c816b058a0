"""The decision table of a takeover, a cell a test."""

import pytest

from schemas.records import Attempt
from streams.services.call.takeover import (
    MARGIN_MS,
    Call,
    Decision,
    Evidence,
    Skip,
    Unknown,
    Wait,
    decide,
)

ENDS = 10_000


def evidence(*records: str) -> Evidence:
    """`phase`, `phase@worker` or `phase@worker!must_end_by`, in journal order."""
    out = Evidence()
    for number, text in enumerate(records):
        text, _, ends = text.partition("!")
        phase, _, worker = text.partition("@")
        out.apply(
            Attempt(
                phase=phase, attempt_id="a", request_id="r", tenant="t", attempt=1, try_=number + 1, model="m",
                call_topic="c", call_partition=0, call_offset=5, at=0, must_end_by=int(ends or ENDS),
                worker=worker or "w",
            )
        )  # fmt: skip
    return out


LAST = ENDS + MARGIN_MS


@pytest.mark.parametrize(
    ("records", "now", "expected"),
    [
        (None, 0, Call()),
        (("started", "done"), 0, Skip()),
        (("started", "handed_over", "done"), 0, Skip()),
        (("done",), 0, Skip()),
        (("started",), 0, Unknown()),
        (("started",), LAST + 1, Unknown()),
        (("started", "handed_over"), 0, Wait(LAST)),
        (("started", "handed_over"), LAST - 1, Wait(LAST)),
        (("started", "handed_over"), LAST, Unknown()),
        (("handed_over",), 0, Wait(LAST)),
        (("started", "started", "handed_over"), 0, Wait(LAST)),
        (("started", "handed_over", "started"), 0, Unknown()),
        (("started", "abandoned"), 0, Call()),
        (("started", "handed_over", "abandoned"), 0, Call()),
        (("started@a", "handed_over@a", "started@b"), 0, Unknown()),
        (("started@a", "started@b", "abandoned@a"), 0, Unknown()),
        (("started@a!50", "handed_over@a!50", "started@b", "handed_over@b"), 0, Wait(LAST)),
        (("started@a", "abandoned@a", "started@b", "done@b"), 0, Skip()),
        (("started@a", "handed_over@a", "done@b"), 0, Skip()),
    ],
)
def test_every_cell(records: tuple[str, ...] | None, now: int, expected: Decision) -> None:
    assert decide(None if records is None else evidence(*records), now) == expected


def test_tries_are_counted_on() -> None:
    """A call after an abandoned try must not journal the same try again."""
    assert evidence("started@a", "abandoned@a").tries == 1
    assert evidence("started", "started", "started").tries == 3


def test_only_the_last_attempt_of_an_offset_counts() -> None:
    """A call topic that was made anew holds other tasks at the offsets that the journal tells of."""
    out = evidence("started", "started", "done")
    record = Attempt(
        phase="started", attempt_id="b", request_id="r", tenant="t", attempt=1, try_=1, model="m", call_topic="c",
        call_partition=0, call_offset=5, at=0, must_end_by=ENDS, worker="w",
    )  # fmt: skip
    out.apply(record)
    assert (out.attempt_id, out.tries, decide(out, 0)) == ("b", 1, Unknown())


def test_a_phase_of_a_later_version_is_refused() -> None:
    with pytest.raises(ValueError, match="later version"):
        evidence("teleported")
