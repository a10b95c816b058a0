"""Costs."""

from decimal import Decimal

from processors.cost import cost, worst_case
from schemas.config import Price
from schemas.records import Usage

PRICE = Price(input=Decimal("3"), output=Decimal("15"), cache_read=Decimal("0.3"), cache_write=None)


def test_every_kind_of_token_has_its_price() -> None:
    usage = Usage(input_uncached=1000, cache_read=2000, cache_write=100, output=10)
    assert cost(usage, PRICE) == Decimal("0.004050000")


def test_unknown_is_none_and_never_zero() -> None:
    assert cost(Usage(input_uncached=None, output=5), PRICE) is None
    assert cost(Usage(input_uncached=5, output=None), PRICE) is None
    assert cost(Usage(input_uncached=5, output=5), None) is None
    assert cost(None, PRICE) is None


def test_a_fraction_below_nine_places_is_rounded() -> None:
    tiny = Price(input=Decimal("0.0005"), output=Decimal("0"), cache_read=None, cache_write=None)
    assert cost(Usage(input_uncached=1, output=0), tiny) == Decimal("0.000000001")


def test_nothing_costs_more_than_the_worst_case() -> None:
    assert worst_case(1000, 50, PRICE) == Decimal("0.003750000")
    assert worst_case(1000, 50, None) is None
    for usage in (Usage(input_uncached=1000, output=50), Usage(input_uncached=0, cache_read=1000, output=50)):
        told, bound = cost(usage, PRICE), worst_case(1000, 50, PRICE)
        assert told is not None and bound is not None and told <= bound
