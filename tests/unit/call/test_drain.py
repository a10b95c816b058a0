"""How a runner is drained."""

import asyncio

import pytest

from streams.services.call.drain import drain, drain_all


class Runner:
    """Its calls take `calls_s`; without a broker nothing can be written, and leaving takes for ever."""

    def __init__(self, calls_s: float, broker: bool = True) -> None:
        self.steps: list[str] = []
        self._calls_s, self._broker = calls_s, broker

    async def leave(self) -> None:
        self.steps.append("leave")
        if not self._broker:
            await asyncio.Event().wait()

    async def finished(self, timeout_s: float | None) -> bool:
        self.steps.append("wait")
        if timeout_s is not None and self._calls_s > timeout_s:
            await asyncio.sleep(timeout_s)
            return False
        return True

    def drop_all(self) -> None:
        self.steps.append("drop")


async def test_calls_that_end_in_time_are_finished() -> None:
    runner = Runner(0)
    await drain(runner, 1)
    assert runner.steps == ["leave", "wait"]


async def test_calls_that_outlast_the_drain_are_dropped_and_waited_for() -> None:
    runner = Runner(9)
    await drain(runner, 0.01)
    assert runner.steps == ["leave", "wait", "drop", "wait"]


async def test_a_drain_ends_without_a_broker() -> None:
    with pytest.raises(TimeoutError):
        await drain(Runner(0, broker=False), 0.01, leaving_s=0.01)


async def test_one_that_is_slow_keeps_no_other_waiting() -> None:
    slow, quick = Runner(9), Runner(0)
    await drain_all([slow, quick], 0.01)
    assert slow.steps[-1] == quick.steps[-1] == "wait"
