"""Lanes: one request a thread, no lane handed on while it works, nobody waits for ever."""

import asyncio
import threading

import pytest

from streams.local.clickhouse_server.errors import TOO_MANY_SIMULTANEOUS_QUERIES, EngineError
from streams.local.clickhouse_server.lanes import Lanes


async def test_as_many_at_once_as_there_are_lanes() -> None:
    lanes, together = Lanes("tests", 3), threading.Barrier(3, timeout=10)

    async def one() -> None:
        async with lanes.lane() as lane:
            assert await lane.run(together.wait) in range(3)  # passes only if three threads meet

    await asyncio.gather(*(one() for _ in range(9)))
    lanes.close()


async def test_who_waits_too_long_is_told() -> None:
    lanes = Lanes("tests", 1, patience_s=0.01)
    async with lanes.lane():
        with pytest.raises(EngineError) as raised:
            async with lanes.lane():
                pass
        assert raised.value.code == TOO_MANY_SIMULTANEOUS_QUERIES
    async with lanes.lane():  # the lane came back
        pass
    lanes.close()


async def test_cancelled_request_keeps_its_lane_until_the_work_ends() -> None:
    lanes, begun, ended, told = Lanes("tests", 1), threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        assert ended.wait(10)

    async def one() -> None:
        async with lanes.lane() as lane:
            await lane.run(work, lambda: told.append("stop"))

    task = asyncio.create_task(one())
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), lanes.lane():
            pass
    assert told == ["stop"]
    ended.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with lanes.lane():
        pass
    lanes.close()


async def test_error_of_the_work_is_raised() -> None:
    lanes = Lanes("tests", 1)

    def work() -> None:
        raise EngineError(1, "x")

    with pytest.raises(EngineError):
        async with lanes.lane() as lane:
            await lane.run(work)
    lanes.close()
