"""Waiting for work that may never end, such as a schema registry's answer."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def unless(work: Coroutine[Any, Any, T], *events: asyncio.Event) -> T | None:
    """What `work` gives, or None when one of `events` was set before it was done: it is cancelled then."""
    task = asyncio.ensure_future(work)
    signals = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait([task, *signals], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        return None if task.cancelled() else task.result()
    finally:
        for waiting in (task, *signals):
            waiting.cancel()
