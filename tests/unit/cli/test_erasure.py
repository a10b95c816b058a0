"""`sluice erase` and `legal-hold`: what it takes, which order it goes on with, and how it tells of Kafka's copies."""

from types import SimpleNamespace
from typing import Any

import pytest

from schemas.config import Config
from sinks.erasure_scope import Order, Scope
from streams.cli import elsewhere, erasure
from streams.cli.failure import BadInput
from tests.unit.test_config_rules import config

DAY = 86_400_000
ADA = Scope("acme", user="ada")


class Known:
    """Orders as the database knows them."""

    def __init__(self, *orders: Order) -> None:
        self._orders = orders

    async def orders(self) -> list[Order]:
        return list(self._orders)

    async def now(self) -> int:
        return 1_000


def order(scope: Scope, **more: Any) -> Order:
    return Order("old", scope, 5, 6, "operator:ann", "asked", **more)


async def test_an_order_that_was_broken_off_is_taken_up_and_a_finished_one_is_not() -> None:
    settings: Any = Config.model_validate(config())
    for known, taken in (
        ([order(ADA)], True),
        ([order(ADA, stands=True)], True),
        ([order(ADA, stands=True, finished=True)], False),
        ([order(Scope("acme")), order(Scope("acme", request_id="ada"))], False),
    ):
        found = await erasure._order(Known(*known), ADA, "again", settings)  # type: ignore[arg-type]
        assert (found.id == "old") is taken
        assert found.reason == ("asked" if taken else "again")
        longest = settings.limits.max_deadline_s + settings.defaults.grace_s
        assert taken or (found.accepted_until, found.letters_until) == (1_000, 1_000 + longest * 1000)


@pytest.mark.parametrize(
    ("tenant", "user", "about"),
    [("", None, None), ("a", "b", "c"), ("a\n", None, None), ("a" * 257, None, None)],
)
def test_what_can_t_be_a_name_is_refused(tenant: str, user: str | None, about: str | None) -> None:
    with pytest.raises(BadInput):
        erasure.scope_of(tenant, user, about)


@pytest.mark.parametrize("reason", [None, "", "  ", "x" * 5000])
def test_a_reason_is_needed(reason: str | None) -> None:
    with pytest.raises(BadInput, match="--reason"):
        erasure.reason_of(reason)


async def test_copies_on_kafka_are_told_by_the_topics_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    week = {"retention.ms": str(7 * DAY), "segment.ms": str(DAY), "cleanup.policy": "delete"}
    topics = {
        "llm.results": week,
        "llm.requests": {**week, "retention.ms": "-1"},
        "llm.control": {"cleanup.policy": "compact", "retention.ms": str(DAY)},
        "llm.calls.m.batch": week,
        "llm.calls.m.standard": week,
        "acme.answers": week,
        "others.answers": week,
        "llm.usage": week,
    }

    async def settings_of(brokers: str, takes: Any) -> dict[str, dict[str, str]]:
        return {name: settings for name, settings in topics.items() if takes(name)}

    monkeypatch.setattr(elsewhere, "settings_of", settings_of)
    tenant: Any = SimpleNamespace(reply_topics=["acme.answers"])
    found = {c.topic: c.gone_by for c in await elsewhere.copies_of("b", tenant, 100)}
    gone = 100 + 8 * DAY
    assert found == {
        "llm.calls.* (2 topics)": gone,
        "acme.answers": gone,
        "llm.control": None,
        "llm.requests": None,
        "llm.results": gone,
    }
