"""How a consumer's fetches wait: long polls while it is quiet, short ones that gather while records come.

Each fetch has its price, in the client and in the broker, however few records it brings. While it is quiet, a fetch
returns with the first record; under load it returns with many, or after a few milliseconds.
"""

import time
from typing import Any, Final

from aiokafka import AIOKafkaConsumer

GATHER_MS: Final = 4
GATHER_BYTES: Final = 64 * 1024
QUIET_MS: Final = 250
_QUIET_AFTER_S: Final = 0.25


def pace_fetches(consumer: AIOKafkaConsumer) -> None:
    """Pace the fetches of a started consumer. It must not set `fetch_min_bytes` or `fetch_max_wait_ms` itself."""
    fetcher = consumer._fetcher
    fetch = fetcher._proc_fetch_request
    busy_until = 0.0

    def wait(quiet: bool) -> None:
        fetcher._fetch_min_bytes = 1 if quiet else GATHER_BYTES
        fetcher._fetch_max_wait_ms = QUIET_MS if quiet else GATHER_MS

    async def paced(assignment: Any, node_id: int, request: Any) -> bool:
        nonlocal busy_until
        brought = bool(await fetch(assignment, node_id, request))
        now = time.monotonic()
        if brought:
            busy_until = now + _QUIET_AFTER_S
        wait(quiet=now >= busy_until)
        return brought

    wait(quiet=True)
    fetcher._proc_fetch_request = paced
