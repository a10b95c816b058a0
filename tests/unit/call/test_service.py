"""Models that come and go while the service runs."""

import asyncio
from typing import Any

import pytest

from schemas.config import Config
from streams.services.call import service as service_module
from streams.services.call.service import CallService
from streams.settings import Settings
from tests.fakes.call_bench import CONFIG
from tests.fakes.call_runner import Configs, RunnerBench, codec


class Parts:
    """Stands for what the service starts beside its runners; notes when each is stopped."""

    steps: list[str]

    def __init__(self, *_: Any) -> None:
        """Takes whatever the real one takes."""

    async def start(self) -> None:
        """Nothing to connect to."""

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def stop(self) -> None:
        Parts.steps.append("parts stopped")


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> RunnerBench:
    Parts.steps = []
    for name in ("Journal", "ControlReader"):
        monkeypatch.setattr(service_module, name, Parts)
    for name in ("make_producer", "allow_connections", "spare_the_collector"):
        monkeypatch.setattr(service_module, name, lambda *_: None)
    return RunnerBench(monkeypatch)


def with_runner(bench: RunnerBench, config: Config, drain_s: float) -> CallService:
    """A service whose configuration lacks the model that the bench's runner calls."""
    service = CallService(Settings(drain_timeout_s=drain_s), codec, Configs(config))
    service._runners["m"] = bench.runner
    return service


NOTHING = CONFIG.model_copy(update={"models": {}})


async def begin(bench: RunnerBench, calls_s: float) -> None:
    """Start the bench's runner with one call that takes so long."""
    await bench.runner.start()

    async def calls() -> None:
        await asyncio.sleep(calls_s)
        Parts.steps.append("call ended")

    bench.runner.spawn(calls())


async def test_a_model_that_goes_finishes_what_runs_and_ends_nothing_else(bench: RunnerBench) -> None:
    await begin(bench, calls_s=0.05)
    service = with_runner(bench, NOTHING, drain_s=0.3)
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    await asyncio.sleep(0.6)
    assert not running.done() and not service._failed.done() and bench.fatal == []
    assert not bench.runner._tasks, "a drain that is one of the runner's tasks would wait for itself"
    assert Parts.steps == ["call ended"] and bench.consumer.steps[-1] == "stop" and not service._drains
    stop.set()
    await running


async def test_the_end_of_the_service_waits_for_a_model_that_goes(bench: RunnerBench) -> None:
    """Its calls must be able to write how they ended."""
    await begin(bench, calls_s=0.2)
    service = with_runner(bench, NOTHING, drain_s=5)
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    await asyncio.sleep(0.05)
    stop.set()
    await asyncio.wait_for(running, 3)
    assert Parts.steps == ["call ended", "parts stopped", "parts stopped"]


async def test_a_drain_that_fails_ends_the_service(
    bench: RunnerBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(bench, calls_s=0)

    async def broken() -> None:
        raise TimeoutError("no broker")

    monkeypatch.setattr(bench.runner, "leave", broken)
    with pytest.raises(TimeoutError, match="no broker"):
        await asyncio.wait_for(with_runner(bench, NOTHING, drain_s=5).run(asyncio.Event()), 3)
