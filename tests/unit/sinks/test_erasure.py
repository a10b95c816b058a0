"""What a look at the rows does about holds that were placed or released while nobody, or somebody else, looked."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from sinks.erasure import Erasures
from sinks.erasure_scope import Conditions, Hold, Scope

HELD = ("h", "acme", "", "", "ann", "a case", 1_000)


class Client:
    """A database of which every row matches whatever is asked; `holds` are in force, but where they are
    `released_meanwhile` only until the orders are read."""

    def __init__(self, holds: Sequence[Any], released_meanwhile: bool = False) -> None:
        self.access = SimpleNamespace(database="sluice")
        self._holds, self._released_meanwhile = list(holds), released_meanwhile
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.updates: list[tuple[str, Mapping[str, Any]]] = []

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Sequence[Any]]:
        if "legal_holds" in sql:
            return self._holds
        if "erasures" in sql:
            self._holds = [] if self._released_meanwhile else self._holds
            return []
        self.asked.append((sql, dict(parameters or {})))
        return [(1, 1)]

    async def command(self, sql: str, parameters: Mapping[str, Any] | None = None, token: str = "") -> None:
        self.updates.append((sql, dict(parameters or {})))


async def marked_since(hold_at: int) -> set[int]:
    client = Client([(*HELD[:-1], hold_at)])
    await Erasures(client).apply(since=5_000)  # type: ignore[arg-type]
    return {p["since"] for _, p in client.updates if p["held"] == 1}


async def test_a_new_hold_is_marked_on_all_rows_and_an_old_one_on_those_that_came_since() -> None:
    assert await marked_since(hold_at=6_000) == {0}
    assert await marked_since(hold_at=1_000) == {5_000}


async def test_a_hold_that_is_released_during_a_look_keeps_its_marks_until_the_next() -> None:
    """The next look sees them, and carries out the orders that the hold had kept off, before it takes them away."""
    client = Client([HELD], released_meanwhile=True)
    await Erasures(client).apply(since=5_000)  # type: ignore[arg-type]
    freeing = [p for _, p in client.updates if p["held"] == 0]
    assert freeing and all("acme" in p.values() for p in freeing)


def test_a_hold_on_a_tenant_or_request_covers_a_text_whose_result_has_not_come_in_yet() -> None:
    for scope in (Scope("acme"), Scope("acme", request_id="r")):
        assert "results" not in Conditions().of_holds("bodies", [Hold("h", scope, "ann", "a case")])
    assert "results" in Conditions().of_holds("bodies", [Hold("h", Scope("acme", "ada"), "ann", "a case")])
