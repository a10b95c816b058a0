"""The route stage's metrics, fed by the outbox and by a look at the machines."""

import time
from itertools import islice
from typing import Final

from processors.route.open_request import FINAL, unpack
from streams import metrics
from streams.route_machine import RouteBinding

_LOOKED_AT: Final = 2000


class RouteObserver:
    """An `Observer` of the outbox that counts into Prometheus."""

    def __init__(self) -> None:
        self._bindings: dict[int, RouteBinding] = {}

    def watch(self, binding: RouteBinding) -> RouteBinding:
        """Remember the machine that a partition runs on now."""
        self._bindings[binding.partition] = binding
        return binding

    def opened(self, partition: int, changelog_records: int, took_ms: int) -> None:
        """See `Observer`."""
        metrics.ROUTE_OPENING.labels(partition).set(took_ms / 1000)

    def committed(self, partition: int, inputs: int, outputs: int, took_ms: int) -> None:
        """See `Observer`."""
        metrics.ROUTE_INPUTS.labels(partition).inc(inputs)
        metrics.ROUTE_OUTPUTS.labels(partition).inc(outputs)
        metrics.ROUTE_TRANSACTION.observe(took_ms / 1000)

    def aborted(self, partition: int, reason: str) -> None:
        """See `Observer`."""
        metrics.ROUTE_ABORTS.labels(reason).inc()

    def took(self, partition: int) -> None:
        """See `Observer`."""

    def closed(self, partition: int) -> None:
        """See `Observer`."""
        self._bindings.pop(partition, None)
        metrics.ROUTE_OPEN_REQUESTS.labels(partition).set(0)
        metrics.ROUTE_OLDEST_OPEN.labels(partition).set(0)
        metrics.ROUTE_DEDUPE_REACH.remove(partition)

    def poisoned(self, partition: int, offset: int) -> None:
        """See `Observer`."""

    def refresh(self) -> None:
        """Bring the gauges up to date."""
        now = time.time() * 1000
        for partition, binding in self._bindings.items():
            metrics.ROUTE_OPEN_REQUESTS.labels(partition).set(binding.machine.open)
            metrics.ROUTE_OLDEST_OPEN.labels(partition).set(_oldest_age_s(binding, now))
            metrics.ROUTE_DEDUPE_REACH.labels(partition).set(binding.machine.dedupe_reach_ms(int(now)) / 1000)
            metrics.ROUTE_DEDUPE_RETENTION.set(binding.machine.retention_ms / 1000)


def _oldest_age_s(binding: RouteBinding, now: float) -> float:
    """Age of the oldest open request, seconds. Requests are kept in the order of their coming, nearly: the first
    few thousand are looked at, so that a scrape costs the same however many are open."""
    first = islice(binding.machine.state.requests.values(), _LOOKED_AT)
    accepted = [r.accepted_at for r in map(unpack, first) if r.status != FINAL]
    return max(0.0, now - min(accepted)) / 1000 if accepted else 0.0
