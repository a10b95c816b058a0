"""How fresh this member's standing in its group is. The one place that reaches into aiokafka's coordinator.

A call may start only while the last successful heartbeat answer is younger than half the session timeout: a
process that was stopped and goes on can't know otherwise that its partitions have a new owner.
"""

import time
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer


class HeartbeatWatch:
    """Watches one started consumer. The age counts from when the heartbeat was sent, the safe side."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        session_timeout_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._coordinator = consumer._coordinator
        self._original = self._coordinator._do_heartbeat
        self._coordinator._do_heartbeat = self._beat
        self._lease_s = session_timeout_s / 2
        self._monotonic = monotonic
        self._last_ok = float("-inf")

    async def _beat(self) -> bool:
        sent = self._monotonic()
        answered = bool(await self._original())
        if answered:
            self._last_ok = max(self._last_ok, sent)
        return answered

    async def confirm(self) -> None:
        """Send a heartbeat now: a new generation needn't wait for its first one."""
        await self._beat()

    def lost(self) -> None:
        """The membership ended: stale until the next answer."""
        self._last_ok = float("-inf")

    @property
    def lease_until(self) -> float:
        """Monotonic seconds until which a call may start."""
        return self._last_ok + self._lease_s

    @property
    def fresh(self) -> bool:
        """True while a call may start."""
        return self._monotonic() < self.lease_until
