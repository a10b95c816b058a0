"""The prices of every model of a configuration, made ready once and kept as long as the configuration."""

from typing import Final

from processors.per_config import PerConfig
from processors.pricing.forms import Prices, prices_of
from schemas.config import Config

_Book = dict[str, dict[str, Prices | None]]


def _made(config: Config) -> _Book:
    return {
        name: {place.id: prices_of(model.prices_at(place)) for place in model.places}
        for name, model in config.models.items()
    }


_books: Final = PerConfig(_made)


def book_of(config: Config) -> _Book:
    """For each model id: by the id of the deployment its prices, None where it has none."""
    return _books.of(config)
