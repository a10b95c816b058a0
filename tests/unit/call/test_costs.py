"""The cost that an outcome tells: of the deployment that was called, at the prices of the time when the call began."""

from decimal import Decimal
from typing import Any

import pytest

from processors.providers.base import Completion
from schemas.config import Config
from schemas.records import Parameters, RequestEvent, Usage
from streams.services.call import outcomes
from tests.fakes.call_bench import Bench, target

DAY_MS = 86_400_000
JULY = 20_635 * DAY_MS  # 2026-07-01
USAGE = Usage(input_uncached=1000, output=0)


def config(*places: dict[str, Any], **model: Any) -> Config:
    return Config.model_validate(
        {
            "providers": {"p": {"kind": "openai", "base_url": "http://x"}},
            "models": {"m": {"deployments": [{"provider": "p", "vendor_model": "v", **at} for at in places], **model}},
            "tenants": {"t": {}},
            "routes": [{"models": ["m"]}],
        }
    )  # fmt: skip


def told(known: Config, began: int, *, now: int | None = None, place: str = "a", **task: Any) -> tuple[Any, ...]:
    item = Bench([]).item(**task)
    item.config, item.started_at, item.target = known, began, target(None, place=place)
    outcome = outcomes.succeeded(item, Completion("stop", [], USAGE), 0, now or began + 2000)
    return outcome.cost, outcome.cost_basis, outcome.price_version


def test_the_price_of_the_time_when_the_call_began_holds() -> None:
    known = config(
        {"name": "a"}, prices=[{"input": 1, "output": 1}, {"since": "2026-07-01", "input": 2, "output": 1}]
    )
    assert told(known, JULY - 1, now=JULY + 5000) == (Decimal("0.001"), "per_token", "config")
    assert told(known, JULY) == (Decimal("0.002"), "per_token", "config 2026-07-01")


def test_the_deployment_that_was_called_is_charged() -> None:
    own = {"name": "b", "prices": [{"input": 5, "output": 1}]}
    known = config({"name": "a"}, own, {"name": "c"}, price={"input": 1, "output": 1})
    costs = [told(known, JULY, place=place)[0] for place in "abc"]
    assert costs == [Decimal("0.001"), Decimal("0.005"), Decimal("0.001")]
    assert told(config({"name": "a"}, own), JULY) == (None, None, None), "it has no price"


@pytest.mark.parametrize(("took_ms", "cost"), [(2500, "0.025"), (90_000, "0.6")])
def test_a_second_of_compute_counts_up_to_the_time_limit(took_ms: int, cost: str) -> None:
    known = config({"name": "a"}, price={"per_compute_second": "0.01"}, timeouts={"total_s": 60})
    assert told(known, JULY, now=JULY + took_ms)[:2] == (Decimal(cost), "per_compute_second")


def test_the_tier_that_was_asked_for_is_charged() -> None:
    known = config({"name": "a"}, price={"input": 1, "output": 1, "service_tiers": {"flex": "0.5"}})
    request = RequestEvent(id="r", prompt="q", parameters=Parameters(service_tier="flex"))
    assert told(known, JULY, request=request) == (Decimal("0.0005"), "per_token", "config flex")
