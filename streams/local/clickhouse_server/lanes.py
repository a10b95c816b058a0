"""Threads for the engine's blocking calls: a request holds one thread from its first statement to its last."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from streams.local.clickhouse_server import errors

T = TypeVar("T")


class Lane:
    """One thread, used by one request at a time."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, call: Callable[[], T], on_cancel: Callable[[], None] | None = None) -> T:
        """`call` in the lane's thread. If the caller is cancelled, `on_cancel` (which must not block) is told,
        and the cancellation goes on only when `call` has ended: the lane is never handed on while it works."""
        work = asyncio.get_running_loop().run_in_executor(self._thread, call)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            if on_cancel is not None:
                on_cancel()
            await _settled(work)
            raise

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


class Lanes:
    """A fixed number of lanes of one purpose. Who finds none free waits for one, but not for ever."""

    def __init__(self, name: str, count: int, patience_s: float = 10.0) -> None:
        self._name = name
        self._patience_s = patience_s
        self._all = [Lane(f"{name}-{i}") for i in range(count)]
        self._free = list(self._all)
        self._permits = asyncio.Semaphore(count)

    @contextlib.asynccontextmanager
    async def lane(self) -> AsyncIterator[Lane]:
        """A free lane. Raises EngineError TOO_MANY_SIMULTANEOUS_QUERIES when none gets free in time."""
        try:
            async with asyncio.timeout(self._patience_s):
                await self._permits.acquire()
        except TimeoutError:
            message = f"Too many simultaneous {self._name}: {len(self._all)} run already, for {self._patience_s:g} s"
            raise errors.EngineError(errors.TOO_MANY_SIMULTANEOUS_QUERIES, message) from None
        lane = self._free.pop()
        try:
            yield lane
        finally:
            self._free.append(lane)
            self._permits.release()

    def close(self) -> None:
        for lane in self._all:
            lane.close()


async def _settled(work: "asyncio.Future[T]") -> None:
    while not work.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([work])
    if not work.cancelled():
        work.exception()  # looked at: nobody is left to tell
