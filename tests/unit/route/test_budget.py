"""What a request may cost: the budget's seam, and the request's own bound."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import pytest

from processors.budget import Hold, Settlement
from schemas.records import CallTask, ContentPart, Message, Parameters, Problem, Usage
from schemas.signals import Invalid
from tests.unit.route.world import World, control, only, outcome, result, usage


class Books:
    """A budget that writes down what it is told, and refuses on demand."""

    def __init__(self) -> None:
        self.holds: dict[tuple[str, int], Decimal | None] = {}
        self.told: list[Hold] = []
        self.settled: list[tuple[int, Decimal | None, bool]] = []
        self.settled_with: list[int] = []
        self.refuses = False

    def check(self, hold: Hold, settled: Sequence[Settlement]) -> Problem | None:
        self.settled_with.append(len(settled))
        return Problem(code="over_budget", message="raise the budget") if self.refuses else None

    def hold(self, hold: Hold) -> None:
        self.told.append(hold)
        self.holds[hold.request_id, hold.attempt] = hold.worst_case

    def settle(self, settlement: Settlement) -> None:
        attempt = settlement.hold.attempt
        self.settled.append((attempt, settlement.cost, settlement.correction))
        self.holds.pop((settlement.hold.request_id, attempt), None)

    def restore(self, partition: int, holds: Iterable[Hold]) -> None:
        assert partition == 3
        self.holds = {(h.request_id, h.attempt): h.worst_case for h in holds}


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
def world(books: Books) -> World:
    return World(budget=books)


class TestBudget:
    def test_each_attempt_is_held_and_settled(self, world: World, books: Books) -> None:
        task = world.submit()
        second = only(world.feed(outcome(task, "unknown")), CallTask)
        world.feed(outcome(second))
        world.feed(outcome(task, "failed", "provider_error"))
        assert [(h.attempt, h.worst_case) for h in books.told] == [
            (1, task.worst_case_cost),
            (2, second.worst_case_cost),
        ]
        assert books.settled == [
            (1, task.worst_case_cost, False),
            (2, Decimal("0.000013"), False),
            (1, Decimal(0), True),
        ]
        assert books.settled_with == [0, 1], "a retry is checked with what its predecessor frees"

    def test_refusal_rejects_at_first_and_fails_a_retry(self, world: World, books: Books) -> None:
        task = world.submit("r1")
        books.refuses = True
        assert result(world.feed(world.request("r2"))).status == "rejected"
        final = result(world.feed(outcome(task, "unknown")))
        assert (final.status, final.error_class, final.error_message) == (
            "failed",
            "over_budget",
            "raise the budget",
        )
        assert [h.request_id for h in books.told] == ["r1"]

    def test_a_decision_that_is_thrown_away_holds_and_settles_nothing(
        self, world: World, books: Books, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*args: object) -> None:
            raise Invalid("a defect", "after the budget was asked")

        task = world.submit("r1")
        told = list(books.told)
        monkeypatch.setattr("processors.route.draft.Draft.call", fails)
        for record in (world.request("r2"), outcome(task, "unknown")):
            with pytest.raises(Invalid):
                world.feed(record)
        assert (books.told, books.settled) == (told, [])

    def test_what_is_held_is_told_again_after_a_restart(self, world: World, books: Books) -> None:
        first = world.submit("r1")
        unknown = world.submit("r2", "strict")
        world.feed(outcome(unknown, "unknown"))
        held = world.submit("r3", "wary")
        world.feed(control("cancel", "r3", "wary"))
        world.flush()
        world.submit("r4")
        world.machine = world.reopen()
        assert books.holds == {("r1", 1): first.worst_case_cost, ("r3", 1): held.worst_case_cost}


class TestMaxCost:
    """small costs at most 0.002074 dollars for such a request, large 0.01026, and free has no price."""

    def test_a_request_that_may_cost_more_is_rejected(self) -> None:
        world = World()
        cost = world.submit("r1", model="small").worst_case_cost
        assert cost is not None
        assert world.submit("r2", model="small", max_cost=cost).model == "small"
        told = result(world.feed(world.request("r3", model="small", max_cost=cost - Decimal("0.000000001"))))
        assert (told.status, told.error_class, told.problems[0].field) == (
            "rejected",
            "over_max_cost",
            "max_cost",
        )
        assert f"small {cost}" in (told.error_message or "")

    def test_a_bound_on_the_output_makes_it_affordable(self) -> None:
        parameters = Parameters(max_tokens=1)
        assert World().submit(model="small", max_cost=Decimal("0.0001"), parameters=parameters)

    def test_an_unpriced_model_is_refused_under_it(self) -> None:
        told = result(World().feed(World().request(model="free", lane="batch", max_cost=Decimal(9))))
        assert (told.error_class, told.status) == ("over_max_cost", "rejected")
        assert "free has no price" in (told.error_message or "")

    def test_candidates_that_cost_more_are_passed_over(self) -> None:
        task = World().submit(model="large", candidate_models=["small"], max_cost=Decimal("0.003"))
        assert task.model == "small"

    def test_all_attempts_together_stay_below_it(self) -> None:
        world = World()
        task = world.submit(model="small", max_cost=Decimal("0.005"))
        paid = Usage(input_uncached=7, output=1000)
        for cost in ("0.002007", "0.001007"):
            emits = world.feed(
                outcome(task, "failed", "truncated", retriable=True, usage=paid, cost=Decimal(cost))
            )
            world.flush()
            world.machine = world.reopen()
            if cost == "0.002007":
                task = only(emits, CallTask)
        final = result(emits)
        assert (final.status, final.error_class, final.attempts) == ("failed", "over_max_cost", 2)
        assert "max_cost leaves 0.001986000 US dollars" in (final.error_message or "")

    def test_the_truth_about_an_unknown_attempt_frees_what_it_was_settled_at(self) -> None:
        world = World()
        task = world.submit(model="small", max_cost=Decimal("0.0042"))
        second = only(world.feed(outcome(task, "unknown")), CallTask)
        world.feed(outcome(task, "failed", "provider_error"))
        third = outcome(second, "failed", "provider_error", retriable=True, maybe_paid=True)
        assert only(world.feed(third), CallTask).attempt == 3


@pytest.mark.parametrize(
    "more",
    [
        {"parameters": Parameters(max_tokens=10, extra={"functions_of_a_vendor": '"' + "x" * 78 + '"'})},
        {"messages": [Message(role="user", name="n" * 101, content=[ContentPart(type="text", text="")])]},
        {
            "messages": [
                Message(role="tool", content=[ContentPart(type="tool_result", tool_call_id="n" * 101)])
            ]
        },
        {
            "messages": [
                Message(role="assistant", content=[ContentPart(type="tool_call", tool_name="n" * 101)])
            ]
        },
    ],
)
def test_whatever_a_provider_may_read_counts_as_input(more: dict[str, Any]) -> None:
    shape = {"parameters": Parameters(max_tokens=10), "prompt": None}
    shape |= {"messages": [Message(role="user", content=[])]} if "messages" in more else {}
    world = World()
    least = world.submit("r1", model="small", **shape).worst_case_cost
    cost = world.submit("r2", model="small", **(shape | more)).worst_case_cost
    assert least is not None and cost == least + Decimal("0.000101")


def test_usage_of_a_priced_attempt_without_its_cost_counts_as_the_worst_case() -> None:
    """Else a sum over costs would miss it."""
    world = World()
    task = world.submit("r1", model="small")
    told = outcome(task, "failed", "truncated", usage=Usage(output=5), cost=None)
    used = usage(world.feed(told))
    assert (used.cost, used.usage.estimated, used.usage.output) == (task.worst_case_cost, True, 1024)
    unpriced = world.submit("r2", model="free", lane="batch")
    used = usage(world.feed(outcome(unpriced, usage=Usage(output=5), cost=None)))
    assert (used.cost, used.usage.output) == (None, 5)
