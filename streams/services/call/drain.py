"""Leaving in order: nothing new starts, running calls are handed over, the group is left, they are finished."""

import asyncio
from collections.abc import Iterable
from typing import Final, Protocol

# For what must be written at the beginning and the end of a drain; without a broker it can't be.
LEAVING_S: Final = 10.0


class Drainable(Protocol):
    """What a `ModelRunner` offers to a drain."""

    async def leave(self) -> None:
        """Start nothing more, hand over what runs, leave the group."""

    async def finished(self, timeout_s: float | None) -> bool:
        """Wait for what runs; False if some still does after `timeout_s`."""

    def drop_all(self) -> None:
        """Drop every running stream."""


async def drain(runner: Drainable, timeout_s: float, leaving_s: float = LEAVING_S) -> None:
    """Stop a runner. Queued tasks stay uncommitted, for the next owner.

    Calls that outlast `timeout_s` are dropped and reported as unknown. Raises TimeoutError where even that can't
    be written: the process then ends as by a crash, and the next owner tells.
    """
    async with asyncio.timeout(timeout_s + leaving_s):
        await runner.leave()
        if not await runner.finished(timeout_s):
            runner.drop_all()
            await runner.finished(None)


async def drain_all(runners: Iterable[Drainable], timeout_s: float) -> None:
    """Drain several at once. Raises what the first to fail raises, in a group."""
    async with asyncio.TaskGroup() as group:
        for runner in runners:
            group.create_task(drain(runner, timeout_s))
