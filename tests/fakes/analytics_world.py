"""A made-up autumn of requests, as plain Python, from which answers of analytics can be worked out without a database.

Everything follows from the seed. It holds what sums go wrong by: attempts without a price or without counts, calls of
unknown end with and without a correction, the id of a request used again weeks later, and results that came late.
"""

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final

SEED: Final = 20261112
BUSY_DAY: Final = date(2026, 11, 12)
TENANTS: Final = ("acme-lending", "borealis-bank", "cedar-health")
PROVIDER_OF: Final = {"large": "vendor-a", "chat": "vendor-b", "small": "local"}
AGAIN: Final = "request-again"
"""The id that acme-lending uses twice; both first attempts are of unknown end, and the first is corrected."""
_APPLICATIONS: Final = {
    "acme-lending": ("desk", "letters"),
    "borealis-bank": ("desk", "risk"),
    "cedar-health": ("triage",),
}
_LANES: Final = {"desk": "interactive", "triage": "interactive", "letters": "batch", "risk": "standard"}
_ERRORS: Final = ("rate_limited", "provider_error", "timeout")


def ms(day: date, of_day: int = 0) -> int:
    """Milliseconds since the epoch of a time of day (ms) on a UTC day."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000) + of_day


def day_of(at: int) -> date:
    """The UTC day of a time."""
    return datetime.fromtimestamp(at / 1000, UTC).date()


@dataclass(frozen=True)
class Call:
    """An attempt as it was settled. Times are ms; counts and cost of None are unknown."""

    number: int
    model: str
    status: str
    error_class: str
    issued_at: int
    started_at: int | None
    first_token_at: int | None
    ended_at: int | None
    settled_at: int
    uncached: int | None
    cache_read: int | None
    cache_write: int | None
    output: int | None
    reasoning: int | None
    estimated: bool
    cost: Decimal | None
    worst: Decimal | None
    correction: "Call | None" = None

    @property
    def provider(self) -> str:
        return PROVIDER_OF[self.model]

    @property
    def known(self) -> "Call":
        """What counts by now."""
        return self.correction or self


@dataclass
class Asked:
    """A request with its end; `status` is empty while it is open."""

    tenant: str
    request_id: str
    application: str
    user: str
    lane: str
    task_type: str
    arm: str
    data_classes: list[str]
    config: str
    accepted_at: int
    first_model: str
    rule: str
    status: str = ""
    error_class: str = ""
    problems: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    ended_at: int = 0
    actor: str = "route"
    words: str = ""
    handed_over: bool = False


class World:
    """All that was asked. `asked` is in order of acceptance."""

    def __init__(self, seed: int = SEED, count: int = 400) -> None:
        print(f"seed of the analytics world: {seed}")
        self.dice = random.Random(seed)
        self.asked = sorted((self._asked(n) for n in range(count)), key=lambda a: a.accepted_at)
        self.asked += self._twice()

    @property
    def ended(self) -> list[Asked]:
        return [a for a in self.asked if a.status]

    @property
    def calls(self) -> list[tuple[Asked, Call]]:
        """Each settled attempt as it is known by now."""
        return [(a, c.known) for a in self.ended for c in a.calls]

    def _asked(self, n: int) -> Asked:
        dice = self.dice
        tenant = dice.choices(TENANTS, (6, 3, 1))[0]
        application = dice.choice(_APPLICATIONS[tenant])
        day = BUSY_DAY if dice.random() < 0.3 else date(2026, dice.choice((10, 11)), dice.randint(1, 30))
        accepted_at = ms(day, dice.randrange(86_000_000))
        model = dice.choices(("large", "chat", "small"), (2, 4, 2))[0]
        asked = Asked(
            tenant=tenant,
            request_id=f"request-{n}",
            application=application,
            user=f"user-{dice.randrange(25)}",
            lane=_LANES[application],
            task_type=dice.choice(("chat", "extract")),
            arm=dice.choice(("control", "shorter")) if application == "desk" else "",
            data_classes=dice.choice(([], ["public"], ["personal"], ["personal", "financial"])),
            config="1111aaaa1111aaaa" if accepted_at < ms(date(2026, 11, 1)) else "2222bbbb2222bbbb",
            accepted_at=accepted_at,
            first_model=model,
            rule=f"route {dice.randrange(2)}",
        )
        if n == 7:
            asked.tenant, asked.application, asked.lane = "acme-lending", "letters", "batch"
        self._live(asked, dice.random())
        return asked

    def _live(self, asked: Asked, fate: float) -> None:
        """Give it attempts and an end."""
        if fate < 0.05:
            asked.first_model, asked.status, asked.error_class = "", "rejected", "invalid_request"
            asked.problems = self.dice.sample(
                ["too_long", "unknown_model", "no_content"], self.dice.randint(1, 2)
            )
            asked.ended_at = asked.accepted_at + 3
            return
        at = asked.accepted_at + self.dice.randint(2, 40)
        model = asked.first_model
        failures = 0 if fate < 0.7 else self.dice.randint(1, 2)
        for number in range(1, failures + 1):
            asked.calls.append(self._call(asked, number, model, "failed", at))
            at = asked.calls[-1].settled_at + self.dice.randint(1, 500)
            model = {"large": "chat", "chat": "large", "small": "chat"}[model]
        last = failures + 1
        if fate < 0.08:
            asked.status, asked.error_class = "expired", "deadline_exceeded"
        elif fate < 0.11:
            asked.status, asked.error_class = "cancelled", "cancelled"
            asked.actor = self.dice.choice(("operator:ann", "operator:bob"))
            asked.words = self.dice.choice(("sent by mistake", "too expensive"))
        elif fate < 0.13:
            asked.handed_over = fate < 0.115
        else:
            end = "unknown" if fate < 0.22 else "failed" if fate > 0.9 else "succeeded"
            asked.calls.append(self._call(asked, last, model, end, at))
            asked.status = "succeeded" if end == "succeeded" else "failed"
            asked.error_class = asked.calls[-1].error_class
        done = asked.calls[-1].settled_at if asked.calls else asked.accepted_at
        asked.ended_at = done + self.dice.randint(1, 20)

    def _call(self, asked: Asked, number: int, model: str, status: str, issued_at: int) -> Call:
        dice = self.dice
        started = issued_at + int(5 + 4_000 * dice.random() ** 5)
        first = started + dice.randint(80, 1_500)
        ended = first + int(100 + 20_000 * dice.random() ** 3)
        tells_cache = model != "small"
        price = None if model == "small" else Decimal(dice.randint(10, 4_000)) / 1_000_000
        call = Call(
            number=number,
            model=model,
            status=status,
            error_class="" if status == "succeeded" else dice.choice(_ERRORS),
            issued_at=issued_at,
            started_at=started,
            first_token_at=first if status == "succeeded" else None,
            ended_at=ended,
            settled_at=ended + dice.randint(1, 9),
            uncached=dice.randint(20, 3_000),
            cache_read=dice.choice((0, 512, 1_024)) if tells_cache else None,
            cache_write=dice.choice((0, 256)) if tells_cache else None,
            output=dice.randint(1, 900) if dice.random() > 0.03 else None,
            reasoning=dice.randint(0, 100) if model == "large" else None,
            estimated=False,
            cost=price,
            worst=None if price is None else price + Decimal(dice.randint(0, 900)) / 1_000_000,
        )
        if status != "unknown":
            return call
        truth = replace(call, status="succeeded", error_class="", first_token_at=first)
        truth = replace(truth, settled_at=call.settled_at + dice.randint(1_000, 90_000_000))
        return replace(
            call,
            error_class="unknown_outcome",
            ended_at=None,
            estimated=True,
            cost=call.worst,
            correction=truth if dice.random() < 0.5 else None,
        )

    def _twice(self) -> list[Asked]:
        lives = []
        for day, corrected in ((date(2026, 10, 3), True), (date(2026, 11, 20), False)):
            asked = self._asked(7)
            asked.request_id, asked.accepted_at = AGAIN, ms(day, 1_000)
            asked.problems, asked.status, asked.error_class = [], "failed", "unknown_outcome"
            asked.first_model, asked.actor, asked.words = "chat", "route", ""
            call = self._call(asked, 1, "chat", "unknown", asked.accepted_at + 5)
            while (call.correction is not None) != corrected:
                call = self._call(asked, 1, "chat", "unknown", asked.accepted_at + 5)
            asked.calls, asked.ended_at = [call], call.settled_at + 1
            lives.append(asked)
        return lives
