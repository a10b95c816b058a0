"""Published prices: the vendors' price lists, as the package genai-prices carries them. No network.

Read where a configuration is checked or applied, and written into it: workers read prices from the configuration alone,
so that all of them charge alike, whichever version of the package they run with.
"""

import datetime
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import Any, Final, NamedTuple

from schemas.config import Price

# Ours, and the package's name for the same.
_RATES: Final = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "image_input": "input_image_mtok",
    "audio_input": "input_audio_mtok",
    "audio_output": "output_audio_mtok",
    "reasoning": "output_reasoning_mtok",
}
# Usage doesn't tell these apart from cheaper ones: better no price than one that is too low.
_NOT_COUNTED: Final = ("output_image_mtok", "output_video_mtok")
# What decides about a price at a vendor, and is a service tier here.
_TIER_WORDS: Final = ("service_tier", "processing", "speed")
_LONG_AGO: Final = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)


class Published(NamedTuple):
    """What is published about a vendor's model. `prices` as in a configuration; empty where they can't be said so."""

    model: str
    prices: list[Price]
    context_window: int | None


def published(vendor_model: str, url: str, prices_of: str | None = None) -> Published | None:
    """What is published about a model that is served at `url`; None where nothing is.

    Only the vendor's own address has its prices: a model's name alone says nothing. `prices_of` names the vendor
    where another address leads to it.
    """
    from genai_prices.data_snapshot import get_snapshot

    snapshot = get_snapshot()
    try:
        vendor, model = snapshot.find_provider_model(
            vendor_model, None, prices_of, None if prices_of is not None else url
        )
    except LookupError:
        return None
    own = any(model is other for other in vendor.models)
    return Published(model.id, _prices(model, own), model.context_window)


def has_price_list(url: str, prices_of: str | None = None) -> bool:
    """Whether `url`, or the vendor that is named, is one whose prices are published."""
    from genai_prices.data_snapshot import get_snapshot

    try:
        get_snapshot().find_provider(None, prices_of, None if prices_of is not None else url)
    except LookupError:
        return False
    return True


@cache
def _source() -> str:
    return f"genai-prices {version('genai-prices')}"


def _prices(model: Any, own_variants: bool) -> list[Price]:
    """The model's prices, oldest first: one for each day from which others hold, and each time of the day."""
    contexts = dict(_contexts(model)) if own_variants else {}
    found: list[Price] = []
    last: list[dict[str, Any]] = []
    for day in (None, *sorted(_days(model))):
        entries = list(_of_day(model, day, contexts))
        if any(not entry for entry in entries):
            return []
        if entries != last:
            since = {} if day is None else {"since": day}
            found += [Price.model_validate({**entry, **since, "source": _source()}) for entry in entries]
            last = entries
    return found


def _contexts(model: Any) -> Iterator[tuple[str, Mapping[str, str]]]:
    for variant in model.price_variants or ():
        told = [(word, value) for word, value in variant.when.items() if word in _TIER_WORDS]
        if len(told) == len(variant.when) == 1 and variant.prices.__dict__:
            yield told[0][1], variant.when


def _constraints(model: Any) -> Iterator[Any]:
    listed = model.prices if isinstance(model.prices, list) else []
    for entry in (*listed, *(model.price_variants or ())):
        if entry.constraint is not None:
            yield entry.constraint


def _days(model: Any) -> set[datetime.date]:
    return {c.start_date for c in _constraints(model) if hasattr(c, "start_date")}


def _of_day(
    model: Any, day: datetime.date | None, contexts: Mapping[str, Mapping[str, str]]
) -> Iterator[dict[str, Any]]:
    """The price that holds from a day on, then those of its times of the day; {} where it can't be said."""
    midnight = (
        _LONG_AGO if day is None else datetime.datetime.combine(day, datetime.time(), tzinfo=datetime.UTC)
    )
    clock = {
        moment.replace(tzinfo=None)
        for c in _constraints(model)
        if hasattr(c, "start_time")
        for moment in (c.start_time, c.end_time)
    }
    times = sorted(clock | {datetime.time()})
    whole = _at(model, midnight, contexts)
    yield whole
    for start, end in zip(times, [*times[1:], times[0]], strict=True):
        at = datetime.datetime.combine(midnight.date(), start, tzinfo=datetime.UTC)
        told = _at(model, at, contexts)
        if told != whole:
            yield {**told, "daily_from": start, "daily_until": end} if told else {}


def _at(model: Any, at: datetime.datetime, contexts: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    standard = model.get_prices(at)
    told = _rates(standard)
    if "input" not in told or "output" not in told or any(getattr(standard, k) for k in _NOT_COUNTED):
        return {}
    if standard.requests_kcount is not None:
        told["request"] = standard.requests_kcount / 1000
    tiers = {name: _rates(model.get_prices(at, context)) for name, context in contexts.items()}
    special = {name: rates for name, rates in tiers.items() if rates != _rates(standard)}
    return told | ({"service_tiers": special} if special else {})


def _rates(price: Any) -> dict[str, Any]:
    """The rates, and `long_input` where they depend on the size of the input."""
    told: dict[str, Any] = {}
    steps: dict[int, dict[str, Any]] = {}
    for ours, theirs in _RATES.items():
        rate = getattr(price, theirs)
        if rate is None:
            continue
        told[ours] = rate if isinstance(rate, Decimal) else rate.base
        for tier in () if isinstance(rate, Decimal) else rate.tiers:
            steps.setdefault(tier.start, {"over": tier.start})[ours] = tier.price
    if steps:
        told["long_input"] = [steps[over] for over in sorted(steps)]
    return told
