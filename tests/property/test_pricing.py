"""No cost is above what was reserved for it, whatever the form of the price, the usage within its bounds, the time."""

import datetime
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from processors.pricing.cost import Asked, cost_of, worst_case
from processors.pricing.forms import DAY_MS, prices_of
from schemas.config import Price
from schemas.config_prices import Rates, in_order
from schemas.records import Usage

NOW = 1_790_000_000_000
RATE = st.decimals(0, 100, places=4)
TIERS = ["flex", "priority", "batch"]


@st.composite
def rates(draw: st.DrawFn, *, whole: bool) -> dict[str, Any]:
    names = draw(st.sets(st.sampled_from([*Rates.model_fields])))
    return {name: draw(RATE) for name in sorted(names | ({"input", "output"} if whole else set()))}


@st.composite
def longer(draw: st.DrawFn) -> list[dict[str, Any]]:
    starts = draw(st.lists(st.integers(1, 3000), max_size=2, unique=True))
    return [{"over": over, **draw(rates(whole=False))} for over in starts]


@st.composite
def forms(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["token", "token", "second", "hour"]))
    if kind == "second":
        return {"per_compute_second": draw(RATE)}
    if kind == "hour":
        served = draw(st.sampled_from(["tokens_per_hour", "calls_per_hour"]))
        share = draw(st.none() | st.decimals("0.05", 1, places=2))
        return {"per_hour": draw(RATE), served: draw(st.integers(1, 10**7)), "utilisation": share}
    tier = st.decimals(0, 5, places=2) | st.fixed_dictionaries({"long_input": longer()}) | rates(whole=False)
    return {
        **draw(rates(whole=True)),
        "request": draw(st.none() | RATE),
        "long_input": draw(longer()),
        "service_tiers": draw(st.dictionaries(st.sampled_from(TIERS), tier)),
    }


@st.composite
def price_lists(draw: st.DrawFn) -> list[Price]:
    today = datetime.datetime.fromtimestamp(NOW / 1000, datetime.UTC).date()
    days = sorted(draw(st.sets(st.integers(-3, 3), max_size=3)))
    told = [draw(forms())]
    told += [{**draw(forms()), "since": today + datetime.timedelta(days=day)} for day in days]
    if draw(st.booleans()):
        start, end = draw(st.lists(st.integers(0, 23), min_size=2, max_size=2, unique=True))
        day = {"since": told[-1].get("since"), "daily_from": f"{start:02}:00", "daily_until": f"{end:02}:00"}
        told.append(draw(forms()) | day)
    return in_order([Price.model_validate(one) for one in told])


@given(price_lists(), st.data())
def test_a_cost_is_at_most_the_worst_case(told: list[Price], data: st.DataObject) -> None:
    draw = data.draw
    tier = draw(st.none() | st.sampled_from([*TIERS, "default", "unknown"]))
    asked = Asked(tier, *draw(st.tuples(st.booleans(), st.booleans(), st.booleans())))
    most_in, most_out = draw(st.integers(0, 5000)), draw(st.integers(0, 500))
    left = most_in
    counts = []
    for _ in range(3):
        counts.append(draw(st.integers(0, left)))
        left -= counts[-1]
    output = draw(st.integers(0, most_out))
    part = st.none() | st.integers(0, 6000)
    usage = Usage(
        input_uncached=counts[0],
        cache_read=counts[1],
        cache_write=counts[2],
        cache_write_1h=draw(part) if asked.hour_cache else None,
        image_input=draw(part) if asked.media else None,
        audio_input=draw(part) if asked.media else None,
        output=output,
        reasoning=draw(part),
        audio_output=draw(part) if asked.media_output else None,
        service_tier=draw(st.none() | st.sampled_from([*TIERS, "default", "standard", "other"])),
    )  # fmt: skip
    prices = prices_of(told)
    assert prices is not None
    seconds, until = draw(st.floats(0, 300)), NOW + draw(st.integers(0, 2 * DAY_MS))
    began = draw(st.integers(NOW, until))
    bound = worst_case([prices], most_in, most_out, asked=asked, seconds=300, from_ms=NOW, until_ms=until)
    cost = cost_of(usage, prices, at_ms=began, seconds=seconds, tier=asked.tier)
    if bound is not None:
        assert cost.dollars is not None and Decimal(0) <= cost.dollars <= bound
