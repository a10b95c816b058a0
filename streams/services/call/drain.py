"""Leaving in order: nothing new starts, running calls are handed over, the group is left, they are finished."""

import asyncio

from streams.services.call.runner import ModelRunner


async def drain(runner: ModelRunner, timeout_s: float) -> None:
    """Stop a runner. Queued tasks stay uncommitted, for the next owner.

    Calls that outlast `timeout_s` are dropped and reported as unknown.
    """
    await runner.leave()
    if not await runner.finished(timeout_s):
        runner.attempts.drop_all()
        await runner.finished(None)


async def drain_all(runners: list[ModelRunner], timeout_s: float) -> None:
    """Drain several at once. Raises the first failure."""
    async with asyncio.TaskGroup() as group:
        for runner in runners:
            group.create_task(drain(runner, timeout_s))
