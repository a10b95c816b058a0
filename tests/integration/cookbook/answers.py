"""What docs/cookbook.md must answer, worked out in Python from the made-up autumn alone: one function a question.

Here is what these functions share; they are in `finance`, `operations` and `compliance`.

A row is a tuple in the order of the query's columns. `Near` stands for a figure that the database may round.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

from tests.fakes.analytics_world import BUSY_DAY, Asked, Call, World, day_of

T = TypeVar("T")
Rows = list[tuple[Any, ...]]
Answer = Callable[[World], Rows]

ANSWERS: Final[dict[str, Answer]] = {}
ACME: Final = "acme-lending"


@dataclass(frozen=True)
class Near:
    """Equal to what lies between both, give or take 1 %."""

    low: float
    high: float

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float | int) and self.low * 0.99 - 1e-9 <= other <= self.high * 1.01 + 1e-9


def answers(question: str) -> Callable[[Answer], Answer]:
    def note(answer: Answer) -> Answer:
        assert question not in ANSWERS
        ANSWERS[question] = answer
        return answer

    return note


def grouped(things: Iterable[T], key: Callable[[T], Any]) -> dict[Any, list[T]]:
    found: dict[Any, list[T]] = defaultdict(list)
    for thing in things:
        found[key(thing)].append(thing)
    return found


def total(values: Iterable[Any]) -> Any:
    """The sum of what is known; None where nothing is."""
    known = [v for v in values if v is not None]
    return sum(known[1:], known[0]) if known else None


def cost(calls: Iterable[tuple[Asked, Call]]) -> Decimal | None:
    return total(c.cost for _, c in calls)  # type: ignore[no-any-return]


def percentile(level: float, values: Iterable[int]) -> Any:
    """The value at a level, or one of its neighbours; None where there is none."""
    ordered = sorted(values)
    if not ordered:
        return None
    at = min(max(math.ceil(level * len(ordered)) - 1, 0), len(ordered) - 1)
    return Near(ordered[max(at - 1, 0)], ordered[min(at + 1, len(ordered) - 1)])


def share(part: float, whole: float) -> Near:
    return Near(part / whole, part / whole)


def moment(at: int) -> datetime:
    return datetime.fromtimestamp(at / 1000, UTC)


def november(at: int) -> bool:
    return date(2026, 11, 1) <= day_of(at) < date(2026, 12, 1)


def calls_of(world: World) -> list[tuple[Asked, Call]]:
    """Attempts settled in November."""
    return [(a, c) for a, c in world.calls if november(c.settled_at)]


def ended_in(world: World) -> list[Asked]:
    return [a for a in world.ended if november(a.ended_at)]


def ended_on_busy_day(world: World) -> list[Asked]:
    return [a for a in world.ended if day_of(a.ended_at) == BUSY_DAY]


def last_model(a: Asked) -> str:
    return a.calls[-1].model if a.calls else a.first_model
