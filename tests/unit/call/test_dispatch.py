"""When calls start, and when they don't."""

import asyncio

import pytest

from schemas.config import Config
from schemas.records import Control, ErrorInfo
from tests.fakes.call_bench import CONFIG
from tests.fakes.call_runner import RunnerBench

RATE_LIMITED = ErrorInfo(error_class="rate_limited", message="m", retry_after_ms=50)


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


async def test_a_task_starts_at_a_target_and_not_before_one_is_free(bench: RunnerBench) -> None:
    begun = bench.note_starts()
    pool = bench.deps.targets.pool(CONFIG, "m")
    pool.targets[0].benches.key.put(RATE_LIMITED, bench.deps.clock.monotonic())
    bench.queue(bench.item(0))
    bench.runner.wake()
    await bench.settle()
    assert begun == []
    await asyncio.sleep(0.1)
    assert begun == [0], "without being woken, at the end of the wait of 50 ms"


async def test_a_task_of_an_old_configuration_holds_nobody_up(bench: RunnerBench) -> None:
    """Its deployment may be the one that the new configuration did away with."""
    begun = bench.note_starts()
    values = CONFIG.model_dump(mode="json")
    values["providers"]["p"]["base_url"] = "http://old"
    old = bench.item(0, config_version="old")
    old.config = Config.model_validate(values)
    [target] = bench.deps.targets.pool(old.config, "m").targets
    target.benches.deployment.put(
        ErrorInfo(error_class="overloaded", message="m", retry_after_ms=300), bench.deps.clock.monotonic()
    )
    bench.queue(old)
    bench.queue(bench.item(1))
    bench.runner.wake()
    await bench.settle()
    assert begun == [1]
    await asyncio.sleep(0.4)
    assert begun == [1, 0]


async def test_the_end_of_a_probe_wakes_the_others(bench: RunnerBench) -> None:
    begun = bench.note_starts()
    pool = bench.deps.targets.pool(CONFIG, "m")
    pool.targets[0].benches.key.put(RATE_LIMITED, bench.deps.clock.monotonic() - 1)
    probe = pool.take(pool.targets[0], 1, bench.deps.clock.monotonic())
    bench.queue(bench.item(0))
    bench.runner.wake()
    await bench.settle()
    assert begun == []
    assert pool.accepted(probe)
    bench.deps.targets.tell_changed()
    await bench.settle()
    assert begun == [0]


async def test_tasks_are_told_at_once_that_no_key_serves(bench: RunnerBench) -> None:
    pool = bench.deps.targets.pool(CONFIG, "m")
    refused = ErrorInfo(error_class="auth", message="the key was refused", retriable=True)
    pool.targets[0].benches.key.put(refused, bench.deps.clock.monotonic())
    for offset in range(3):
        bench.queue(bench.item(offset))
    bench.runner.wake()
    await bench.settle()
    errors = [outcome.error.error_class for outcome in bench.journal.outcomes if outcome.error]
    assert errors == ["auth"] * 3 and bench.owned.mark is not None and bench.owned.mark.unfinished == 0
    assert bench.runner._limiter.running == 0
