"""Whether a consumer is known to be a member of its group. Reaches into aiokafka's coordinator."""

import time
from typing import Any


class Membership:
    """When the group coordinator last confirmed this consumer's membership, by a heartbeat."""

    def __init__(self) -> None:
        self.confirmed_at = 0.0

    def watch(self, consumer: Any) -> None:
        """Note each successful heartbeat of an aiokafka consumer that has been started."""
        coordinator = consumer._coordinator
        heartbeat = coordinator._do_heartbeat

        async def noted() -> bool:
            asked_at = time.monotonic()
            confirmed: bool = await heartbeat()
            if confirmed:
                self.confirmed_at = asked_at
            return confirmed

        coordinator._do_heartbeat = noted
