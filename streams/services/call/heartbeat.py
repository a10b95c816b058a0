"""How fresh this member's standing in its group is.

A call may start only while the last successful heartbeat answer is younger than half the session timeout: a
process that was stopped and goes on can't know otherwise that its partitions have a new owner.
"""

import time
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer

from streams.membership import Membership


class HeartbeatWatch:
    """Watches one started consumer. The age counts from when the heartbeat was sent, the safe side."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        session_timeout_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._membership = Membership(monotonic)
        self._membership.watch(consumer)
        self._lease_s = session_timeout_s / 2
        self._monotonic = monotonic

    async def confirm(self) -> None:
        """Send a heartbeat now: a new generation needn't wait for its first one."""
        await self._membership.confirm()

    @property
    def lease_until(self) -> float:
        """Monotonic seconds until which a call may start."""
        return self._membership.confirmed_at + self._lease_s

    @property
    def fresh(self) -> bool:
        """True while a call may start."""
        return self._monotonic() < self.lease_until
