"""When calls start, and when they don't."""

import asyncio

import pytest

from schemas.records import Control
from tests.fakes.call_runner import RunnerBench


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> RunnerBench:
    bench = RunnerBench(monkeypatch)
    await bench.runner.start()
    await bench.runner._heartbeat.confirm()
    for loop in bench.runner._loops:
        loop.cancel()
    return bench


async def test_a_queued_task_starts(bench: RunnerBench) -> None:
    begun = bench.note_starts()
    bench.queue(bench.item(0))
    bench.runner.wake()
    await bench.settle()
    assert begun == [0]


async def test_nothing_starts_while_too_many_outcomes_wait_for_the_broker(bench: RunnerBench) -> None:
    """Their slots are free again, so that calls would go on and on while the ends of them pile up."""
    begun = bench.note_starts()
    bench.journal.full = True
    bench.queue(bench.item(0))
    bench.runner.wake()
    await asyncio.sleep(0.15)
    assert begun == []
    bench.journal.full = False
    await asyncio.sleep(0.15)
    assert begun == [0], "looked at again without being woken"


async def test_a_paused_model_starts_nothing(bench: RunnerBench) -> None:
    begun = bench.note_starts()
    for command in ("pause", "resume"):
        bench.deps.control.apply(
            b"pause:model:m", Control(event_id="e", command=command, at=0, actor="x", model="m")
        )
        if command == "pause":
            bench.queue(bench.item(0))
        await bench.settle()
        assert begun == ([] if command == "pause" else [0])
