"""`sluice models`: the configured models, where they are served, what they can, what they cost, when they retire."""

import datetime
import time
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from processors.pricing.book import book_of
from processors.pricing.forms import Period
from schemas.config import Capabilities, Config, Deployment, Model, Price
from schemas.config_prices import Rates
from streams.cli import output
from streams.cli.configuration import load, required
from streams.cli.connect import where
from streams.cli.failure import NotFound

WARN_DAYS: Final = 30
_UNPRICED: Final = "unpriced"
_COLUMNS: Final = ("model", "deployment", ">window", ">output", "can", ">in", ">out", "price", "retires")
_NOT_RATES: Final = {"since", "daily_from", "daily_until", "long_input", "service_tiers", "over"}
_FLAGS: Final = ("tools", "json_schema", "reasoning")


async def show_models(name: str | None, file: Path | None, as_json: bool) -> None:
    """Print the models of a file, else of the active configuration; or one, with all of its prices.

    Raises NotFound where there is no such model.
    """
    config = load(file) if file is not None else (await required(where().brokers))[1]
    wanted = {name: config.resolve(name)} if name is not None else {m: m for m in config.models}
    models = {m: config.models[m] for m in wanted.values() if m is not None}
    if name is not None and not models:
        raise NotFound(f"no model or alias {name!r} is configured", "`sluice models` lists them")
    if as_json:
        for each in models:
            output.emit(told(each, config))
        return
    today = datetime.datetime.now(datetime.UTC).date()
    output.table(None, _COLUMNS, [row for m in models for row in _rows(m, config, today)])
    if name is not None:
        for model in models.values():
            _show_prices(model)


def retiring(models: Mapping[str, Model], today: datetime.date) -> list[str]:
    """What is to be said of models that go out of service within WARN_DAYS days, or are past their day."""
    found = []
    for name, model in models.items():
        if model.retires_at is not None and (left := (model.retires_at - today).days) <= WARN_DAYS:
            when = f"in {left} days" if left >= 0 else f"{-left} days ago"
            found.append(f"{name} retires {when}, on {model.retires_at}".replace("in 0 days", "today"))
    return found


def told(name: str, config: Config) -> dict[str, Any]:
    """A model for programs: times of day and dates as ISO 8601 texts, prices as texts of US dollars."""
    model = config.models[name]
    return {
        "model": name,
        "aliases": model.aliases,
        "lanes": model.lanes,
        "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens,
        "capabilities": model.capabilities.model_dump(mode="json"),
        "retires_at": model.retires_at.isoformat() if model.retires_at else None,
        "deployments": [_deployment(name, place, config) for place in model.places],
    }


def _deployment(name: str, place: Deployment, config: Config) -> dict[str, Any]:
    held = _holds(config, name, place)
    return {
        "deployment": place.id,
        "provider": place.provider,
        "kind": config.providers[place.provider].kind,
        "vendor_model": place.vendor_model,
        "weight": place.weight,
        "price_version": held[0].version if held else None,
        "cost_basis": held[0].form.basis if held else None,
        "prices": [price.model_dump(mode="json") for price in config.models[name].prices_at(place)],
    }


def _holds(config: Config, name: str, place: Deployment) -> tuple[Period, Price] | None:
    """What a call would cost that begins now, made ready and as it was told."""
    prices = book_of(config)[name][place.id]
    period = prices.at(time.time_ns() // 1_000_000) if prices is not None else None
    if prices is None or period is None:
        return None
    return period, config.models[name].prices_at(place)[prices.periods.index(period)]


def _rows(name: str, config: Config, today: datetime.date) -> Iterator[tuple[object, ...]]:
    model = config.models[name]
    for n, place in enumerate(model.places):
        held = _holds(config, name, place)
        price = held[1] if held else None
        at = f"{place.id} ({config.providers[place.provider].kind})"
        cost = (price.input, price.output, _said(price, held[0].version)) if held and price else (None, None, _UNPRICED)
        if n == 0:
            limits = (model.context_window, model.max_output_tokens, _can(model.capabilities))
            yield (name, at, *limits, *cost, _retires(model, today))
        else:
            yield ("", at, "", "", "", *cost, "")


def _said(price: Price, version: str) -> str:
    if price.per_compute_second is not None:
        return f"{price.per_compute_second} a second of compute; {version}"
    if price.per_hour is not None:
        served = f"{price.tokens_per_hour} tokens" if price.tokens_per_hour else f"{price.calls_per_hour} calls"
        return f"{price.per_hour} an hour for {served} at {price.utilisation or Decimal(1)} of use; {version}"
    special = [*price.service_tiers, *(f"over {step.over}" for step in price.long_input)]
    return version + (f" (also: {', '.join(special)})" if special else "")


def _can(can: Capabilities) -> str:
    kinds: list[str] = [*can.modalities] if can.modalities is not None else ["?"]
    flags = [name for name in _FLAGS if getattr(can, name)]
    return ", ".join([*kinds, *flags])


def _retires(model: Model, today: datetime.date) -> str | None:
    if model.retires_at is None:
        return None
    left = (model.retires_at - today).days
    return f"{model.retires_at}" + (f" ({left} days)" if left <= WARN_DAYS else "")


def _show_prices(model: Model) -> None:
    for place in model.places:
        rows = [row for price in model.prices_at(place) for row in _price_rows(price)]
        title = f"Prices of {place.id}, US dollars (rates: by million tokens)"
        output.table(title, ("from", "tier", "input over", "price"), rows or [(None, None, None, _UNPRICED)])


def _price_rows(price: Price) -> Iterator[tuple[object, ...]]:
    since = str(price.since or "always")
    if price.daily_from is not None:
        since += f" {price.daily_from:%H:%M}-{price.daily_until:%H:%M}"
    yield since, "standard", None, _rates(price)
    for step in price.long_input:
        yield "", "", step.over, _rates(step)
    for name, tier in price.service_tiers.items():
        yield "", name, None, _rates(tier)
        for step in tier.long_input:
            yield "", "", step.over, _rates(step)


def _rates(rates: Rates) -> str:
    told = rates.model_dump(mode="json", exclude=_NOT_RATES)
    return ", ".join(f"{name} {value}" for name, value in told.items())
