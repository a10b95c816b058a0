"""Prices in the configuration: by token, by the second of compute, or by an hour spread over what it serves."""

import datetime
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from schemas.config_base import PART

Dollars = Annotated[Decimal, Field(ge=0, le=10_000, allow_inf_nan=False)]
_BY_TOKEN_ONLY: Final = ("request", "long_input", "service_tiers")


class Rates(BaseModel):
    """US dollars per million tokens. What is left out costs as much as `input` (`output` for kinds of output);
    `cache_write_1h` as much as `cache_write`.
    """

    model_config = PART

    input: Dollars | None = None
    output: Dollars | None = None
    cache_read: Dollars | None = None
    cache_write: Dollars | None = None
    cache_write_1h: Dollars | None = Field(None, description="written to a cache that keeps it for an hour")
    image_input: Dollars | None = None
    audio_input: Dollars | None = None
    audio_output: Dollars | None = None
    reasoning: Dollars | None = None

    @model_serializer(mode="wrap")
    def _without_what_is_left_out(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value not in (None, [], {})}


class LongInput(Rates):
    """The rates of every token of a call whose input has more than `over` tokens; those left out stay as they are."""

    over: int = Field(ge=1)


class ServiceTier(Rates):
    """The rates of a vendor's service tier: a `multiplier` of all others (a plain number is one), or its own, where
    those left out stay as they are.
    """

    multiplier: Decimal | None = Field(None, ge=0, le=100, allow_inf_nan=False)
    long_input: list[LongInput] = []

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"multiplier": value} if isinstance(value, int | float | str | Decimal) else value

    @model_validator(mode="after")
    def _one_or_the_other(self) -> "ServiceTier":
        if self.multiplier is not None and len(self.model_dump()) > 1:
            raise ValueError("give a multiplier or rates, not both")
        return self


class Price(Rates):
    """US dollars: `input` and `output` per million tokens, or `per_compute_second`, or `per_hour` with what an hour
    serves at full use (`tokens_per_hour` or `calls_per_hour`) and the share of it that is used (`utilisation`).

    `since`: holds from that day on (00:00 UTC); `daily_from`, `daily_until`: only at that time of the day (UTC).
    `source` names the price list it was taken from; the configuration's own prices have none.
    """

    request: Dollars | None = Field(None, description="US dollars a call, beside its tokens")
    long_input: list[LongInput] = []
    service_tiers: dict[str, ServiceTier] = {}
    per_compute_second: Dollars | None = None
    per_hour: Dollars | None = None
    tokens_per_hour: int | None = Field(None, ge=1, description="input and output together")
    calls_per_hour: int | None = Field(None, ge=1)
    utilisation: Decimal | None = Field(None, gt=0, le=1, allow_inf_nan=False)
    since: datetime.date | None = None
    daily_from: datetime.time | None = None
    daily_until: datetime.time | None = None
    source: str | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "Price":
        rates = [name for name in Rates.model_fields if getattr(self, name) is not None]
        by_token = bool(rates) or any(getattr(self, name) not in (None, [], {}) for name in _BY_TOKEN_ONLY)
        forms = by_token + (self.per_compute_second is not None) + (self.per_hour is not None)
        if forms != 1:
            raise ValueError("give one of: input and output; per_compute_second; per_hour")
        if by_token and (self.input is None or self.output is None):
            raise ValueError("a price by token needs input and output")
        if self.per_hour is not None and (self.tokens_per_hour is None) == (self.calls_per_hour is None):
            raise ValueError("per_hour needs tokens_per_hour or calls_per_hour: what an hour serves")
        if self.per_hour is None and (self.tokens_per_hour or self.calls_per_hour or self.utilisation):
            raise ValueError("tokens_per_hour, calls_per_hour and utilisation go with per_hour")
        if (self.daily_from is None) != (self.daily_until is None) or (
            self.daily_from is not None and self.daily_from == self.daily_until
        ):
            raise ValueError("daily_from and daily_until belong together, and differ")
        return self


def in_order(prices: list[Price]) -> list[Price]:
    """Prices as a list that may be given: each from another day or time of the day, by day. Raises ValueError."""
    seen = [(price.since, price.daily_from, price.daily_until) for price in prices]
    if len(set(seen)) != len(seen):
        raise ValueError("two hold from the same time on: give each its own `since`")
    days = [price.since or datetime.date.min for price in prices]
    if days != sorted(days):
        raise ValueError("order them by `since`, the oldest first")
    return prices
