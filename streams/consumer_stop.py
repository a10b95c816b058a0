"""Importing this module makes an aiokafka consumer stop without CancelledError while its broker is away.

Stopping cancels the fetches under way and waits for them. A fetch that is sent takes that for its end; one that waits
to try again after an error lets CancelledError through, and whoever stops the consumer gets it in place of the error
that made it stop. Known to aiokafka's project as its issues 647 and 974.
"""

import asyncio
from typing import Any

from aiokafka.consumer.fetcher import Fetcher

_fetch = Fetcher._proc_fetch_request


async def _fetched(self: Fetcher, *request: Any) -> Any:
    try:
        return await _fetch(self, *request)
    except asyncio.CancelledError:
        return False  # no news, as aiokafka says where a fetch under way is cancelled


Fetcher._proc_fetch_request = _fetched
