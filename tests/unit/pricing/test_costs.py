"""What a call costs: every kind of token, every form of a price, at the time of the call."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from processors.pricing.cost import NO_COST, Asked, Cost, asked_of, cost_of, worst_case
from processors.pricing.forms import Prices, prices_of
from schemas.config import Price
from schemas.records import ContentPart, Message, Parameters, RequestEvent, Usage

FLAT: dict[str, Any] = {"input": 3, "output": 15, "cache_read": "0.3", "cache_write": "3.75"}
NOW = 1_790_000_000_000


def ms(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)


def prices(*told: dict[str, Any]) -> Prices:
    made = prices_of([Price.model_validate(one) for one in told])
    assert made is not None
    return made


def dollars(usage: Usage, told: dict[str, Any], **more: Any) -> str | None:
    cost = cost_of(usage, prices(told), **({"at_ms": NOW} | more)).dollars
    return None if cost is None else f"{cost.normalize():f}"


def most(told: Prices | None, tokens: int = 1000, output: int = 50, **more: Any) -> Decimal | None:
    asked = more.pop("asked", Asked())
    times = {"seconds": 10, "from_ms": NOW, "until_ms": NOW + 300_000} | more
    return worst_case([told], tokens, output, asked=asked, **times)


@pytest.mark.parametrize(
    ("usage", "price", "wanted"),
    [
        # 1000 x 3 + 2000 x 0.3 + 100 x 3.75 + 10 x 15 dollars a million
        ({"cache_read": 2000, "cache_write": 100}, FLAT, "0.004125"),
        ({"cache_write": 100, "cache_write_1h": 40}, FLAT | {"cache_write_1h": 6}, "0.003615"),
        ({"cache_write": 100, "cache_write_1h": 40}, FLAT, "0.003525"),
        ({"cache_read": 2000, "cache_write": 100}, {"input": 3, "output": 15}, "0.00945"),
        ({"output": 10, "reasoning": 8}, FLAT, "0.00315"),
        ({"output": 10, "reasoning": 8}, FLAT | {"reasoning": 30}, "0.00327"),
        ({"audio_input": 100, "image_input": 50}, FLAT | {"audio_input": 40, "image_input": 10}, "0.0072"),
        ({"output": 10, "audio_output": 4}, FLAT | {"audio_output": 80}, "0.00341"),
        ({}, FLAT | {"request": "0.005"}, "0.00815"),
        # parts that exceed their whole are billed once
        ({"audio_input": 2000, "image_input": 500}, FLAT | {"audio_input": 40}, "0.04015"),
    ],
)
def test_every_kind_of_token_has_its_price(usage: dict[str, int], price: dict[str, Any], wanted: str) -> None:
    counts: dict[str, Any] = {"input_uncached": 1000, "output": 10, **usage}
    assert dollars(Usage(**counts), price) == wanted


def test_unknown_is_none_and_never_zero() -> None:
    told = prices(FLAT)
    for usage in (None, Usage(output=5), Usage(input_uncached=5)):
        assert cost_of(usage, told, at_ms=NOW) == NO_COST
    assert cost_of(Usage(input_uncached=5, output=5), None, at_ms=NOW) == NO_COST
    assert prices_of([]) is None and most(None) is None
    assert most(prices(FLAT)) == Decimal("0.0045")


def test_a_fraction_below_nine_places_is_rounded() -> None:
    assert dollars(Usage(input_uncached=1, output=0), {"input": "0.0005", "output": 0}) == "0.000000001"


def test_a_long_input_has_rates_of_its_own_for_every_token() -> None:
    price = FLAT | {"long_input": [{"over": 2000, "input": 6, "output": 22}]}
    assert dollars(Usage(input_uncached=2000, output=10), price) == "0.00615"
    assert dollars(Usage(input_uncached=1001, cache_read=1000, output=10), price) == "0.006526"
    assert most(prices(price), 2000) == Decimal("0.00825")
    assert most(prices(price), 2001) == Decimal("0.013106")


class TestServiceTiers:
    USAGE = Usage(input_uncached=1000, output=0)
    PRICE = FLAT | {"service_tiers": {"flex": 0.5, "priority": {"input": 6, "output": 30, "cache_write": 6}}}

    def cost(self, asked: str | None, told: str | None = None) -> Cost:
        usage = Usage(input_uncached=1000, output=0, service_tier=told)
        return cost_of(usage, prices(self.PRICE), at_ms=NOW, tier=asked)

    @pytest.mark.parametrize(
        ("asked", "told", "wanted", "version"),
        [
            (None, None, "0.003", "config"),
            ("flex", None, "0.0015", "config flex"),
            ("flex", "default", "0.003", "config"),
            ("flex", "flex", "0.0015", "config flex"),
            ("priority", None, "0.006", "config priority"),
            ("standard_only", None, "0.003", "config"),
            # The account's settings may give priority to whoever names no tier.
            (None, "priority", "0.006", "config priority"),
            (None, "a tier nobody knows", "0.003", "config"),
        ],
    )
    def test_the_tier_that_served_is_charged(
        self, asked: str | None, told: str | None, wanted: str, version: str
    ) -> None:
        assert self.cost(asked, told) == Cost(Decimal(wanted), "per_token", version)

    def test_a_tier_without_a_price_is_unpriced(self) -> None:
        assert self.cost("turbo") == NO_COST
        assert most(prices(self.PRICE), asked=Asked("turbo")) is None

    @pytest.mark.parametrize(
        ("asked", "wanted"),
        [(None, "0.006"), ("standard", "0.00375"), ("flex", "0.00375"), ("priority", "0.006")],
    )
    def test_the_dearest_tier_that_may_serve_is_reserved(self, asked: str | None, wanted: str) -> None:
        assert most(prices(self.PRICE), 1000, 0, asked=Asked(asked)) == Decimal(wanted)

    def test_a_vendors_speed_is_charged_like_a_tier(self) -> None:
        asked = asked_of(RequestEvent(parameters=Parameters(extra={"speed": '"fast"'})))
        assert asked.tier == "fast"
        assert asked_of(RequestEvent(parameters=Parameters(service_tier="auto"))).tier is None


class TestSelfHosted:
    USAGE = Usage(input_uncached=700, cache_read=200, output=100)

    def test_by_the_second_of_compute(self) -> None:
        told = prices({"per_compute_second": "0.0008"})
        cost = cost_of(self.USAGE, told, at_ms=NOW, seconds=2.5)
        assert cost == Cost(Decimal("0.002"), "per_compute_second", "config")
        assert most(told, seconds=10) == Decimal("0.008")
        # What the tokens were needn't be known.
        assert cost_of(Usage(), told, at_ms=NOW, seconds=1).dollars == Decimal("0.0008")

    def test_by_the_hour_spread_over_its_tokens(self) -> None:
        told = prices({"per_hour": 2, "tokens_per_hour": 4_000_000, "utilisation": "0.5"})
        cost = cost_of(self.USAGE, told, at_ms=NOW)
        assert cost == Cost(Decimal("0.001"), "amortised_hour", "config")
        assert most(told, 1000, 50) == Decimal("0.00105")

    def test_by_the_hour_spread_over_its_calls(self) -> None:
        told = prices({"per_hour": 2, "calls_per_hour": 1000})
        assert cost_of(Usage(), told, at_ms=NOW).dollars == most(told) == Decimal("0.002")


class TestEffectiveDates:
    OLD, NEW = FLAT | {"since": "2026-01-01"}, FLAT | {"input": 30, "since": "2026-07-01"}
    USAGE = Usage(input_uncached=1000, output=0)

    def cost(self, at: str, *told: dict[str, Any]) -> tuple[str | None, str | None]:
        cost = cost_of(self.USAGE, prices(*told), at_ms=ms(at))
        return (None if cost.dollars is None else f"{cost.dollars.normalize():f}"), cost.version

    def test_the_price_of_the_time_of_the_call_holds(self) -> None:
        assert self.cost("2025-12-31T23:59:59.999", self.OLD, self.NEW) == (None, None)
        assert self.cost("2026-01-01", self.OLD, self.NEW) == ("0.003", "config 2026-01-01")
        assert self.cost("2026-06-30T23:59:59.999", self.OLD, self.NEW) == ("0.003", "config 2026-01-01")
        assert self.cost("2026-07-01", self.OLD, self.NEW) == ("0.03", "config 2026-07-01")

    def test_a_time_of_the_day_has_its_price_also_over_midnight(self) -> None:
        night = FLAT | {"input": 1, "daily_from": "22:00", "daily_until": "06:00"}
        for at, wanted in (("21:59", "0.003"), ("22:00", "0.001"), ("05:59", "0.001"), ("06:00", "0.003")):
            assert self.cost(f"2026-03-01T{at}", FLAT, night)[0] == wanted
        assert self.cost("2026-03-01T23:00", FLAT, night)[1] == "config 22:00-06:00"

    def test_whatever_may_hold_when_the_call_begins_is_reserved(self) -> None:
        told, july = prices(self.OLD, self.NEW), ms("2026-07-01")
        bound = {"from_ms": july - 60_000, "tokens": 1000, "output": 0}
        assert most(told, **bound, until_ms=july - 1) == Decimal("0.00375")
        assert most(told, **bound, until_ms=july) == Decimal("0.03")
        assert most(told, from_ms=july, until_ms=july + 1, tokens=1000, output=0) == Decimal("0.03")
        january = ms("2026-01-01")
        assert most(told, from_ms=january - 1, until_ms=january + 1) is None, "unpriced at its beginning"

    def test_the_dearest_place_is_reserved_and_one_without_a_price_makes_it_unpriced(self) -> None:
        dear, cheap = prices(FLAT | {"input": 30}), prices(FLAT)
        times: dict[str, Any] = {"asked": Asked(), "seconds": 1, "from_ms": NOW, "until_ms": NOW}
        assert worst_case([cheap, dear], 1000, 0, **times) == Decimal("0.03")
        assert worst_case([cheap, None], 1000, 0, **times) is None


def test_dear_kinds_are_reserved_only_where_the_request_may_use_them() -> None:
    told = prices(FLAT | {"cache_write_1h": 6, "audio_input": 40, "audio_output": 80})
    plain = RequestEvent(messages=[Message(role="user", content=[ContentPart(type="text", text="x")])])
    long = RequestEvent(content=[ContentPart(type="text", text="x", cache="ephemeral_1h")])
    heard = RequestEvent(messages=[Message(role="user", content=[ContentPart(type="audio", data=b"x")])])
    extra = RequestEvent(parameters=Parameters(extra={"modalities": '["audio"]'}))
    costs = [most(told, 1000, 10, asked=asked_of(r)) for r in (plain, long, heard, extra)]
    assert costs == [Decimal(c) for c in ("0.0039", "0.00615", "0.0408", "0.0408")]


@pytest.mark.parametrize(
    ("price", "message"),
    [
        ({}, "give one of"),
        ({"input": 1}, "needs input and output"),
        ({"input": 1, "output": 1, "per_hour": 1, "calls_per_hour": 1}, "give one of"),
        ({"per_compute_second": 1, "cache_read": 1}, "give one of"),
        ({"per_hour": 1}, "what an hour serves"),
        ({"per_hour": 1, "calls_per_hour": 1, "tokens_per_hour": 1}, "what an hour serves"),
        ({"per_compute_second": 1, "utilisation": 1}, "go with per_hour"),
        ({**FLAT, "daily_from": "10:00"}, "belong together"),
        ({**FLAT, "service_tiers": {"flex": {"multiplier": 1, "input": 2}}}, "not both"),
        ({**FLAT, "input": "NaN"}, "finite"),
    ],
)
def test_a_price_that_cannot_be_meant_is_refused(price: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Price.model_validate(price)
