"""Timers of up to millions of requests: buckets of about a second, a heap of buckets, lazy deletion."""

import heapq
from collections.abc import Callable, Container
from typing import Final

_SHIFT: Final = 10  # a bucket is 1,024 ms wide
_SLACK: Final = 10_000


class Timers:
    """Keys by the second at which they are due. A timer fires up to 1,024 ms late, never early."""

    def __init__(self) -> None:
        self._buckets: dict[int, list[bytes]] = {}
        self._heap: list[int] = []
        self._filed = 0

    def file(self, key: bytes, due_ms: int) -> None:
        """Set a timer; an earlier one of the same key stays and must be recognised as stale when it fires."""
        bucket = due_ms >> _SHIFT
        keys = self._buckets.get(bucket)
        if keys is None:
            keys = self._buckets[bucket] = []
            heapq.heappush(self._heap, bucket)
        keys.append(key)
        self._filed += 1

    def next_due(self) -> int | None:
        """When the earliest timer fires, milliseconds since the epoch."""
        return (self._heap[0] + 1) << _SHIFT if self._heap else None

    def take(self, now_ms: int, most: int) -> list[bytes]:
        """Up to `most` keys whose time has come, stale ones among them, removed."""
        taken: list[bytes] = []
        while self._heap and len(taken) < most and (self._heap[0] + 1) << _SHIFT <= now_ms:
            keys = self._buckets[self._heap[0]]
            room = most - len(taken)
            taken += keys[-room:]
            del keys[-room:]
            if not keys:
                del self._buckets[heapq.heappop(self._heap)]
        self._filed -= len(taken)
        return taken

    def prune(self, live: Container[bytes], count: int) -> None:
        """Once the stale timers outnumber the live keys (`count`), drop those whose key isn't live."""
        if self._filed <= 2 * count + _SLACK:
            return
        self._keep(lambda key: key in live)

    def _keep(self, wanted: Callable[[bytes], bool]) -> None:
        kept = {b: list(dict.fromkeys(filter(wanted, keys))) for b, keys in self._buckets.items()}
        self._buckets = {b: keys for b, keys in kept.items() if keys}
        self._heap = sorted(self._buckets)
        self._filed = sum(map(len, kept.values()))
