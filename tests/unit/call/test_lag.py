"""The lag that a call worker tells of."""

import asyncio

import pytest
from aiokafka.errors import KafkaConnectionError
from prometheus_client import REGISTRY

from streams import metrics
from tests.fakes.call_runner import TP, RunnerBench


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> RunnerBench:
    metrics.CALL_LAG.clear()
    bench = RunnerBench(monkeypatch)
    bench.consumer.ends[TP], bench.consumer.positions[TP] = 50, 8
    return bench


def told() -> float | None:
    return REGISTRY.get_sample_value("sluice_call_lag_records", {"topic": TP.topic})


async def test_lag_is_what_is_unread_and_what_is_unfinished(bench: RunnerBench) -> None:
    for offset in range(5, 8):
        bench.item(offset)
    assert bench.owned.mark is not None
    bench.owned.mark.done(6)
    await bench.runner._lag.now()
    assert told() == 42 + 2


async def test_what_finished_behind_a_hanging_call_is_no_lag(bench: RunnerBench) -> None:
    for offset in range(8):
        bench.item(offset)
    assert bench.owned.mark is not None
    for offset in range(1, 8):
        bench.owned.mark.done(offset)
    bench.consumer.ends[TP] = 8
    await bench.runner._lag.now()
    assert told() == 1


async def test_without_a_broker_the_last_word_stays(
    bench: RunnerBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.runner._lag.now()

    async def away(tps: object) -> None:
        raise KafkaConnectionError()

    monkeypatch.setattr(bench.consumer, "end_offsets", away)
    await bench.runner._lag.now()
    assert told() == 42


async def test_who_lets_go_says_nothing_more(bench: RunnerBench) -> None:
    """Its new owner tells; two numbers for one topic would add up."""
    await bench.runner._lag.now()
    assert told() == 42
    looking = asyncio.create_task(bench.runner._lag.now())
    await bench.runner.let_go()
    await looking
    assert told() is None


async def test_a_partition_that_isn_t_open_yet_says_nothing(bench: RunnerBench) -> None:
    bench.owned.mark = None
    await bench.runner._lag.now()
    assert told() is None


async def test_the_runner_keeps_looking(bench: RunnerBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.services.call.lag._EVERY_S", 0.01)
    await bench.runner.start()
    await asyncio.sleep(0.05)
    assert told() == 42
    await bench.runner.leave()
    assert told() is None
