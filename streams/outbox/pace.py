"""How often the partitions of a worker begin transactions, all of them together.

A transaction costs worker and broker about three milliseconds of CPU (three requests, markers, log writes), however
few records it holds. A quiet partition begins one at once; the busy ones share a budget, so that batches grow with
the load instead of the number of transactions.
"""

import time
from collections.abc import Callable

_BUSY_S = 0.2


class Pace:
    """At most about `per_second` transactions a second, shared by the partitions that are busy now."""

    def __init__(self, per_second: float = 100, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._clock = per_second, clock
        self._began: dict[int, float] = {}

    def wait_s(self, partition: int) -> float:
        """Seconds until the partition should begin its next transaction; 0 where it may at once."""
        now = self._clock()
        busy = sum(now - began < _BUSY_S for began in self._began.values())
        last = self._began.get(partition)
        return 0.0 if last is None else max(0.0, last + busy / self._per_second - now)

    def begin(self, partition: int) -> None:
        """The partition begins a transaction now."""
        self._began[partition] = self._clock()
