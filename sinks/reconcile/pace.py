"""Keeps a run that works beside the sink, in the same process, from taking more than its share of the time."""

import asyncio
from collections.abc import Awaitable, Callable

Sleep = Callable[[float], Awaitable[None]]


class Pace:
    """Work takes at most `share` of the time: `breathe` sleeps for the rest. With a share of 1 it only yields."""

    def __init__(self, share: float, clock: Callable[[], float], sleep: Sleep = asyncio.sleep) -> None:
        self._rest = 1 / share - 1
        self._clock = clock
        self._sleep = sleep
        self._began = clock()

    def begin(self) -> None:
        """Work begins; what was waited for before isn't counted."""
        self._began = self._clock()

    async def breathe(self) -> None:
        """Work has ended for now."""
        await self._sleep((self._clock() - self._began) * self._rest)
