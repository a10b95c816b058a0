"""Prices made ready for use: one form for each way of charging, chosen by the time of the call."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal, NamedTuple

from schemas.config import Price
from schemas.config_prices import Rates

Basis = Literal["per_token", "per_compute_second", "amortised_hour"]
DAY_MS: Final = 86_400_000
_KINDS: Final = tuple(Rates.model_fields)


class TokenRates(NamedTuple):
    """US dollars a token."""

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write: Decimal
    cache_write_1h: Decimal
    image_input: Decimal
    audio_input: Decimal
    audio_output: Decimal
    reasoning: Decimal


class Steps(NamedTuple):
    """Rates by the size of the input: those of the last step whose `over` is less than it, else the base's."""

    base: TokenRates
    steps: tuple[tuple[int, TokenRates], ...] = ()

    def of(self, input_tokens: int) -> TokenRates:
        """The rates of a call with so many input tokens."""
        found = self.base
        for over, rates in self.steps:
            if input_tokens > over:
                found = rates
        return found

    def up_to(self, input_tokens: int) -> list[TokenRates]:
        """All rates that a call with at most so many input tokens may have."""
        return [self.base, *(rates for over, rates in self.steps if input_tokens > over)]


@dataclass(frozen=True, slots=True)
class PerToken:
    """Charged by token; `request` is charged once a call. `tiers`: by the vendor's service tier."""

    standard: Steps
    tiers: dict[str, Steps]
    request: Decimal
    basis: Basis = field(default="per_token", init=False)


@dataclass(frozen=True, slots=True)
class PerSecond:
    """Charged by the time that the call takes."""

    second: Decimal
    basis: Basis = field(default="per_compute_second", init=False)


@dataclass(frozen=True, slots=True)
class PerHour:
    """An hour's price spread over the tokens, or the calls, that it is expected to serve."""

    token: Decimal
    call: Decimal
    basis: Basis = field(default="amortised_hour", init=False)


Form = PerToken | PerSecond | PerHour


@dataclass(frozen=True, slots=True)
class Period:
    """When a form holds: from `since` on (ms); on days only from `start` to before `end` (ms of the day, UTC)."""

    form: Form
    version: str
    since: int | None = None
    start: int = 0
    end: int = DAY_MS

    @property
    def all_day(self) -> bool:
        return self.start == 0 and self.end == DAY_MS

    def holds(self, at_ms: int) -> bool:
        if self.since is not None and at_ms < self.since:
            return False
        time = at_ms % DAY_MS
        if self.start <= self.end:
            return self.start <= time < self.end
        return time >= self.start or time < self.end


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices of a model at one place; the last period that holds counts."""

    periods: tuple[Period, ...]

    def at(self, at_ms: int) -> Period | None:
        """What holds at a time, milliseconds since the epoch; None where nothing does."""
        for period in reversed(self.periods):
            if period.holds(at_ms):
                return period
        return None

    def between(self, from_ms: int, until_ms: int) -> list[Period] | None:
        """All that may hold between two times; None where at some time nothing may."""
        found = []
        for period in reversed(self.periods):
            if period.since is not None and period.since > until_ms:
                continue
            found.append(period)
            if period.all_day and (period.since is None or period.since <= from_ms):
                return found
        return None


def prices_of(told: Sequence[Price]) -> Prices | None:
    """Prices of the configuration made ready; None where there are none."""
    return Prices(tuple(_period(price) for price in told)) if told else None


def _period(price: Price) -> Period:
    words = [price.source or "config"]
    since = None
    if price.since is not None:
        words.append(price.since.isoformat())
        since = (price.since.toordinal() - _EPOCH) * DAY_MS
    if price.daily_from is None or price.daily_until is None:
        return Period(_form(price), " ".join(words), since)
    words.append(f"{price.daily_from:%H:%M}-{price.daily_until:%H:%M}")
    start, end = (
        ((t.hour * 60 + t.minute) * 60 + t.second) * 1000 for t in (price.daily_from, price.daily_until)
    )
    return Period(_form(price), " ".join(words), since, start, end)


_EPOCH: Final = 719_163  # ordinal of 1970-01-01


def _form(price: Price) -> Form:
    if price.per_compute_second is not None:
        return PerSecond(price.per_compute_second)
    if price.per_hour is not None:
        served = (price.tokens_per_hour or price.calls_per_hour or 1) * (price.utilisation or Decimal(1))
        each = price.per_hour / served
        return PerHour(each, Decimal(0)) if price.tokens_per_hour else PerHour(Decimal(0), each)
    base = _told(price)
    standard = _steps(base, price.long_input)
    tiers = {}
    for name, tier in price.service_tiers.items():
        if tier.multiplier is not None:
            tiers[name] = _times(standard, tier.multiplier)
        else:
            # A tier that tells its own prices for long inputs, or one price for all, doesn't take the standard ones.
            tiers[name] = _steps(base | _told(tier), tier.long_input)
    return PerToken(standard, tiers, price.request or Decimal(0))


def _told(rates: Rates) -> dict[str, Decimal]:
    return {name: value for name in _KINDS if (value := getattr(rates, name)) is not None}


def _steps(base: dict[str, Decimal], longer: Sequence[Rates]) -> Steps:
    steps = []
    told = base
    for step in sorted(longer, key=_over):
        told = told | _told(step)
        steps.append((_over(step), _rates(told)))
    return Steps(_rates(base), tuple(steps))


def _over(step: Rates) -> int:
    return int(getattr(step, "over", 0))


def _rates(told: dict[str, Decimal]) -> TokenRates:
    whole = told["input"], told["output"]
    cache_write = told.get("cache_write", whole[0])
    dollars = TokenRates(
        input=whole[0],
        output=whole[1],
        cache_read=told.get("cache_read", whole[0]),
        cache_write=cache_write,
        cache_write_1h=told.get("cache_write_1h", cache_write),
        image_input=told.get("image_input", whole[0]),
        audio_input=told.get("audio_input", whole[0]),
        audio_output=told.get("audio_output", whole[1]),
        reasoning=told.get("reasoning", whole[1]),
    )
    return TokenRates(*(rate.scaleb(-6) for rate in dollars))


def _times(steps: Steps, factor: Decimal) -> Steps:
    def times(rates: TokenRates) -> TokenRates:
        return TokenRates(*(rate * factor for rate in rates))

    return Steps(times(steps.base), tuple((over, times(rates)) for over, rates in steps.steps))
