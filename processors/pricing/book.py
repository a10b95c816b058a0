"""The prices of every model of a configuration, made ready once and kept."""

from collections import OrderedDict
from typing import Final

from processors.pricing.forms import Prices, prices_of
from schemas.config import Config

_MOST: Final = 64
_Book = dict[str, dict[str, Prices | None]]
# A configuration is kept with its book, as its id is the key.
_books: OrderedDict[int, tuple[Config, _Book]] = OrderedDict()


def book_of(config: Config) -> _Book:
    """For each model id: by the id of the deployment its prices, None where it has none."""
    known = _books.get(id(config))
    if known is not None:
        return known[1]
    made = {
        name: {place.id: prices_of(model.prices_at(place)) for place in model.places}
        for name, model in config.models.items()
    }
    _books[id(config)] = config, made
    if len(_books) > _MOST:
        _books.popitem(last=False)
    return made
