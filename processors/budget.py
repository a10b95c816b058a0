"""The seam for budgets, and the bound on a request's input that an attempt reserves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from processors.request_size import measured
from schemas.records import Problem, RequestEvent


@dataclass(frozen=True, slots=True)
class Hold:
    """What is held for one attempt. `worst_case` is in US dollars; None where the model has no price."""

    tenant: str
    request_id: str
    attempt: int
    model: str
    worst_case: Decimal | None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What an attempt cost in the end. A correction replaces an earlier settlement at worst case."""

    hold: Hold
    cost: Decimal | None
    correction: bool


class Budget(Protocol):
    """Asked while a decision is made, told once it is made.

    A decision is told before its transaction is durable. Where that aborts, the partition is opened anew:
    `restore` says what is held, and the decisions after it are made and told again, so that `hold` and `settle`
    count an attempt once however often they come.
    """

    def check(self, hold: Hold, settled: Sequence[Settlement]) -> Problem | None:
        """Why the worst case of an attempt can't be held; changes nothing.

        `settled` belongs to the same decision and isn't told yet.
        """
        ...

    def hold(self, hold: Hold) -> None:
        """Hold the worst case of an attempt, whose call is issued."""
        ...

    def settle(self, settlement: Settlement) -> None:
        """Replace a hold by what the attempt cost."""
        ...

    def restore(self, partition: int, holds: Iterable[Hold]) -> None:
        """A partition was opened: `holds`, to be read now or never, are all that is held for its requests."""
        ...


class Unlimited:
    """Lets everything be spent, and so needs no books."""

    def check(self, hold: Hold, settled: Sequence[Settlement]) -> Problem | None:
        return None

    def hold(self, hold: Hold) -> None:
        return None

    def settle(self, settlement: Settlement) -> None:
        return None

    def restore(self, partition: int, holds: Iterable[Hold]) -> None:
        return None


def input_bound(request: RequestEvent, estimate: int, context_window: int) -> int:
    """The most input tokens a request can cost.

    A token is at least one byte, so bytes bound tokens; content by reference has an unknown size, and then
    only the context window bounds it.
    """
    size = measured(request)
    if size.by_reference:
        return context_window
    overhead = 16 * (len(request.messages) + len(request.tools) + 1)
    return min(context_window, max(estimate, size.content + overhead))
