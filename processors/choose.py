"""The seam for choosing a model among the candidates of a request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Health(Protocol):
    """What is known of the models' state now (breakers, waits)."""

    def healthy(self, model: str) -> bool:
        """False where calls of this model would fail or wait long."""
        ...


class AllHealthy:
    """Knows nothing bad of any model."""

    def healthy(self, model: str) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Choice:
    """The model chosen, and why, for the audit trail."""

    model: str
    why: str


class Chooser(Protocol):
    def choose(self, candidates: Sequence[str], task_type: str, health: Health) -> Choice:
        """One of `candidates` (never empty, best first)."""
        ...


class FirstHealthy:
    """The first healthy candidate; the first of all where none is, for work waits rather than fails."""

    def choose(self, candidates: Sequence[str], task_type: str, health: Health) -> Choice:
        for position, model in enumerate(candidates):
            if health.healthy(model):
                return Choice(model, "first candidate" if position == 0 else "first healthy candidate")
        return Choice(candidates[0], "no candidate is healthy: the first waits")
