"""Whether a consumer is known to be a member of its group. The one place that reaches into aiokafka's coordinator."""

import time
from collections.abc import Callable
from typing import Any


class Membership:
    """When the group coordinator last confirmed a consumer's membership, by a heartbeat.

    `confirmed_at` is when the heartbeat was sent, the safe side; minus infinity before the first.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.confirmed_at = float("-inf")
        self._monotonic = monotonic
        self._heartbeat: Any = None

    def watch(self, consumer: Any) -> None:
        """Note each successful heartbeat of an aiokafka consumer that has been started."""
        coordinator = consumer._coordinator
        self._heartbeat = coordinator._do_heartbeat
        coordinator._do_heartbeat = self.confirm

    async def confirm(self) -> bool:
        """Send a heartbeat, and note it where it is answered."""
        asked_at = self._monotonic()
        confirmed = bool(await self._heartbeat())
        if confirmed:
            self.confirmed_at = max(self.confirmed_at, asked_at)
        return confirmed
