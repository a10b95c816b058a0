"""What a record of a call topic becomes."""

import pytest

from schemas.names import DEAD_LETTERS
from schemas.records import Attempt
from streams.services.call.journal import MAX_MESSAGE_BYTES
from streams.services.call.takeover import Evidence
from tests.fakes.call_bench import call_task
from tests.fakes.call_runner import RunnerBench, codec, encoded, record


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> RunnerBench:
    return RunnerBench(monkeypatch)


def evidence(attempt_id: str, *phases: str) -> Evidence:
    out = Evidence()
    for phase in phases:
        out.apply(
            Attempt(
                phase=phase, attempt_id=attempt_id, request_id="r", tenant="t", attempt=1, try_=3, model="m",
                call_topic="c", call_partition=0, call_offset=0, at=0, must_end_by=0, worker="other",
            )
        )  # fmt: skip
    return out


async def take(bench: RunnerBench, value: bytes | None = None, offset: int = 0) -> None:
    await bench.runner._intake.take(bench.owned, record(value or encoded(call_task()), offset))
    await bench.settle()


async def test_a_task_is_queued(bench: RunnerBench) -> None:
    await take(bench)
    item = bench.runner._scheduler.peek(0)
    assert item is not None and item.task == call_task(deadline_at=item.task.deadline_at) and item.tries == 0


async def test_a_task_that_is_done_is_not_called(bench: RunnerBench) -> None:
    bench.owned.evidence[0] = evidence("a", "done")
    await take(bench)
    assert len(bench.runner._scheduler) == 0 and bench.owned.evidence == {}
    assert bench.owned.mark is not None and bench.owned.mark.mark == 1


@pytest.mark.parametrize("phases", [("started", "done"), ("started",), ("started", "abandoned")])
async def test_evidence_of_another_attempt_says_nothing(bench: RunnerBench, phases: tuple[str, ...]) -> None:
    """A call topic that was deleted and made anew counts its offsets from 0 again; the journal remembers."""
    bench.owned.evidence[0] = evidence("of-another-task", *phases)
    await take(bench)
    item = bench.runner._scheduler.peek(0)
    assert item is not None and item.tries == 0 and bench.owned.evidence == {}
    assert bench.journal.outcomes == []


async def test_what_nobody_can_read_is_a_dead_letter_that_fits_its_topic(bench: RunnerBench) -> None:
    garbage = b"\x00" * (6 * 1024 * 1024 - 100)
    await take(bench, garbage)
    [letter] = bench.journal.letters
    assert len(codec.encode(letter, DEAD_LETTERS)) < MAX_MESSAGE_BYTES - 1024
    assert letter.value and garbage.startswith(letter.value) and "bytes of its value" in letter.message
    assert bench.owned.mark is not None and bench.owned.mark.mark == 1


async def test_a_dead_letter_names_its_kind(bench: RunnerBench) -> None:
    await bench.runner._intake.take(bench.owned, record(None, 0))
    await take(bench, b"rubbish", offset=1)
    assert [(each.kind, each.stage) for each in bench.journal.letters] == [
        ("null_value", "call"),
        ("undecodable", "call"),
    ]
