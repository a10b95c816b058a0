"""What a call costs, and at most can cost."""

from decimal import ROUND_HALF_UP, Decimal

from schemas.config import Price
from schemas.records import Usage

_PLACES = Decimal("0.000000001")
_MILLION = Decimal(1_000_000)


def cost(usage: Usage | None, price: Price | None) -> Decimal | None:
    """US dollars, nine places; None where the model has no price or a count that matters is unknown."""
    if usage is None or price is None or usage.input_uncached is None or usage.output is None:
        return None
    total = usage.input_uncached * price.input + usage.output * price.output
    total += (usage.cache_read or 0) * (price.input if price.cache_read is None else price.cache_read)
    total += (usage.cache_write or 0) * (price.input if price.cache_write is None else price.cache_write)
    return (total / _MILLION).quantize(_PLACES, ROUND_HALF_UP)


def worst_case(input_bytes: int, max_output_tokens: int, price: Price | None) -> Decimal | None:
    """The most a call can cost, US dollars: no tokenizer makes more tokens than bytes; output is as bounded."""
    if price is None:
        return None
    dearest = max(price.input, price.cache_read or price.input, price.cache_write or price.input)
    total = input_bytes * dearest + max_output_tokens * price.output
    return (total / _MILLION).quantize(_PLACES, ROUND_HALF_UP)
