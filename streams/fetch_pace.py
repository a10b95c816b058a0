"""How a consumer's fetches wait: a long poll while it is quiet, short ones that gather while records come.

Each fetch costs client and broker about a millisecond of CPU together, however few records it brings. While it is
quiet, a fetch returns with the first record. The fetch after one that brought records gathers for some milliseconds.
"""

from typing import Any, Final

from aiokafka import AIOKafkaConsumer

GATHER_MS: Final = 12
GATHER_BYTES: Final = 64 * 1024
QUIET_MS: Final = 250


def pace_fetches(consumer: AIOKafkaConsumer) -> None:
    """Pace the fetches of a started consumer. It must not set `fetch_min_bytes` or `fetch_max_wait_ms` itself."""
    fetcher = consumer._fetcher
    fetch = fetcher._proc_fetch_request

    def wait(gather: bool) -> None:
        fetcher._fetch_min_bytes = GATHER_BYTES if gather else 1
        fetcher._fetch_max_wait_ms = GATHER_MS if gather else QUIET_MS

    async def paced(assignment: Any, node_id: int, request: Any) -> bool:
        brought = bool(await fetch(assignment, node_id, request))
        wait(gather=brought)
        return brought

    wait(gather=False)
    fetcher._proc_fetch_request = paced
