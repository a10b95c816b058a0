"""A configuration completed from what is published about its models: prices, windows, capabilities.

What the file tells stays as it is. Completed where a configuration is checked or applied, so that it holds everything
that workers go by, and its version stands for all of it.
"""

from typing import Any

from processors.catalogue.known import Known, known_of
from processors.pricing.published import Published, has_price_list, published
from processors.providers.openai.presets import dialect_of
from schemas.config import Capabilities, Config, Deployment, Model, Provider


def completed(config: Config) -> Config:
    """The configuration with what its file left out. Raises ValueError, with a line `field: fault` for each fault."""
    faults = list(_strange_price_lists(config))
    if faults:
        raise ValueError("\n".join(faults))
    models = {name: _completed(model, config) for name, model in config.models.items()}
    return config.model_copy(update={"models": models})


def _strange_price_lists(config: Config) -> list[str]:
    return [
        f"providers.{name}.prices_of: no published prices of {provider.prices_of!r} are known"
        for name, provider in config.providers.items()
        if provider.prices_of is not None and not has_price_list("", provider.prices_of)
    ]


def _completed(model: Model, config: Config) -> Model:
    places = [(place, config.providers[place.provider]) for place in model.places]
    told = [_published(place, provider) for place, provider in places]
    known = [known_of(place.vendor_model) if _is_vendors(provider) else None for place, provider in places]
    changes: dict[str, Any] = _limits(model, told, known)
    if all(known):
        changes["capabilities"] = _capabilities(model, [row for row in known if row is not None])
    if model.price is None and not model.prices:
        changes |= _prices(model, told)
    return model.model_copy(update=changes) if changes else model


def _published(place: Deployment, provider: Provider) -> Published | None:
    if not _is_vendors(provider):
        return None
    return published(place.vendor_model, _url(provider), provider.prices_of)


def _is_vendors(provider: Provider) -> bool:
    """Whether models at a provider are known by name: at anybody's own server a name says nothing."""
    return provider.kind != "dummy" and has_price_list(_url(provider), provider.prices_of)


def _url(provider: Provider) -> str:
    return provider.url(dialect_of(provider).base_url if provider.kind == "openai" else None)


def _prices(model: Model, told: list[Published | None]) -> dict[str, Any]:
    found = [row.prices if row is not None else [] for row in told]
    if not model.deployments:
        return {"prices": found[0]} if found[0] else {}
    places = [
        place.model_copy(update={"prices": prices}) if prices and not place.prices else place
        for place, prices in zip(model.deployments, found, strict=True)
    ]
    return {"deployments": places}


def _limits(model: Model, told: list[Published | None], known: list[Known | None]) -> dict[str, Any]:
    """The smallest window and output among its places, where all of them are known."""
    changes: dict[str, Any] = {}
    windows = [
        (row.context_window if row else None) or (price.context_window if price else None)
        for row, price in zip(known, told, strict=True)
    ]
    outputs = [row.max_output_tokens if row else None for row in known]
    if "context_window" not in model.model_fields_set and all(windows):
        changes["context_window"] = min(window for window in windows if window)
    if "max_output_tokens" not in model.model_fields_set and all(outputs):
        changes["max_output_tokens"] = min(output for output in outputs if output)
    return changes


def _capabilities(model: Model, known: list[Known]) -> Capabilities:
    """What every place can: no request may depend on where it goes. What the configuration tells goes before."""
    told: dict[str, Any] = {}
    for name in Capabilities.model_fields:
        own = getattr(model.capabilities, name)
        values = [getattr(row.capabilities, name) for row in known]
        if own is not None or None in values:
            told[name] = own
        elif name == "modalities":
            told[name] = [kind for kind in values[0] if all(kind in value for value in values)]
        else:
            told[name] = all(values)
    return Capabilities.model_construct(**told)
