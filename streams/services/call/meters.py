"""The metrics of one model with their labels bound once: looking labels up costs more than counting."""

from functools import cache

from streams import metrics


class Meters:
    """Counts for one model."""

    def __init__(self, model_id: str) -> None:
        self._model_id = model_id
        self.tries = metrics.CALL_TRIES.labels(model_id)
        self.running = metrics.CALL_RUNNING.labels(model_id)
        self.queued = metrics.CALL_QUEUED.labels(model_id)
        self.first_token = metrics.CALL_FIRST_TOKEN.labels(model_id)
        self.duration = metrics.CALL_DURATION.labels(model_id)
        self.stale = metrics.CALL_STALE_HEARTBEATS.labels(model_id)
        self._outcomes = {
            status: metrics.CALL_OUTCOMES.labels(model_id, status)
            for status in ("succeeded", "failed", "returned", "unknown", "cancelled", "expired")
        }

    def outcome(self, status: str) -> None:
        """An outcome was sent."""
        self._outcomes[status].inc()

    def benched(self, deployment: str, key: str, reason: str) -> None:
        """A key or its deployment was benched."""
        metrics.CALL_BENCHED.labels(deployment, key, reason).inc()


@cache
def meters(model_id: str) -> Meters:
    """The meters of a model."""
    return Meters(model_id)
