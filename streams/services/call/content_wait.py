"""Waiting for content by reference before a call: no longer than the deadline, and no longer than the call is ours."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from processors.providers.content_hosts import ContentFailure
from processors.providers.pool import Grant
from schemas.records import CallTask
from streams.services.call.deps import CallDeps
from streams.services.call.item import Item


class ContentWait:
    """The fetches of one model's tries that go on now."""

    def __init__(self, deps: CallDeps) -> None:
        self._deps = deps
        self._fetches: dict[Item, asyncio.Timeout] = {}

    async def fetched(self, item: Item, grant: Grant, held: AsyncExitStack) -> CallTask:
        """The item's task with the content that it refers to, which counts as in memory until `held` closes.

        Raises ContentFailure, also where the deadline came first or the wait was given up.
        """
        task, deps = item.task, self._deps
        passes = item.config.providers[grant.target.deployment.provider].content_urls == "pass"
        within_s = (task.deadline_at - deps.clock.now_ms()) / 1000
        try:
            async with asyncio.timeout(within_s) as self._fetches[item]:
                fetching = deps.fetcher.fetched(task, item.config.content, within_s, passes)
                return await held.enter_async_context(fetching)
        except TimeoutError:
            raise ContentFailure("it wasn't there in time", True) from None
        finally:
            self._fetches.pop(item, None)

    def give_up(self, wanted: Callable[[CallTask], bool]) -> None:
        """End the waits of the tasks that are `wanted`."""
        for item, fetch in self._fetches.items():
            if wanted(item.task) and not fetch.expired():
                fetch.reschedule(asyncio.get_running_loop().time())
