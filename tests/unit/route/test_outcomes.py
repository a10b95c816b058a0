"""What follows an outcome: settlement, the end, or another attempt."""

from decimal import Decimal
from typing import Any

import pytest

from processors.budget import Hold
from processors.route.next_step import backoff_ms
from schemas import ids, names
from schemas.config import Config
from schemas.records import CallTask, ContentPart, DeadLetter, Outcome, Problem, Timings, Usage, UsageEvent
from tests.unit.route.world import (
    T0,
    SickModels,
    World,
    actions,
    config,
    control,
    only,
    outcome,
    records_of,
    result,
    usage,
)


@pytest.fixture
def world() -> World:
    return World()


def test_success_is_told_whole(world: World) -> None:
    echo: dict[str, Any] = {
        "application": "crm",
        "user": "ann",
        "session_id": "0b0e9b6c-51ce-4a0b-8f0f-51ce51ce51ce",
        "purpose": "support",
        "tags": ["a", "b"],
        "workflow_name": "w",
        "workflow_id": "w1",
        "workflow_step": "s",
        "parent_request_id": "p",
        "experiment_key": "e",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "reply_topic": "replies.crm",
        "metadata": {"case": "7"},
    }
    task = world.submit("6F0f5a52-6a0b-5b0e-9b6c-51ce51ce51ce", **echo)
    world.flush()
    world.machine = world.reopen()
    world.clock.now += 80
    done = outcome(task, vendor_model="s-1", deployment="eu")
    emits = world.feed(done)
    told = result(emits)
    assert {name: getattr(told, name) for name in echo} == echo
    assert (told.kind, told.status, told.request_id) == ("terminal", "succeeded", task.request_id)
    assert (told.text, told.output, told.finish_reason) == ("Hello.", done.output, "stop")
    assert (told.model, told.provider, told.deployment, told.vendor_model) == ("small", "sim", "eu", "s-1")
    assert (told.attempts, told.cost, told.usage, told.timings) == (1, done.cost, done.usage, done.timings)
    assert (told.accepted_at, told.completed_at) == (T0 - 20, T0 + 80)
    assert (told.lane, told.task_type, told.config_version) == ("standard", "chat", world.version)
    used = usage(emits)
    assert (used.usage, used.cost, used.corrects) == (done.usage, done.cost, None)
    assert (used.attempt_id, used.session_id, used.metadata) == (
        task.attempt_id,
        echo["session_id"],
        {"case": "7"},
    )
    assert actions(emits) == ["finalised"]
    assert world.machine.state.requests == {}


def test_only_text_parts_make_the_text(world: World) -> None:
    parts = [
        ContentPart(type="reasoning", text="hm"),
        ContentPart(type="text", text="Yes"),
        ContentPart(type="tool_call", tool_name="f", arguments="{}"),
        ContentPart(type="text", text="."),
    ]
    assert result(world.feed(outcome(world.submit("r1"), output=parts))).text == "Yes."
    assert result(world.feed(outcome(world.submit("r2"), output=parts[2:3]))).text is None


@pytest.mark.parametrize(
    ("status", "error", "retriable", "then"),
    [
        ("failed", "invalid_request", False, "end"),
        ("failed", "content_filter", True, "end"),
        ("failed", "result_too_large", False, "end"),
        ("failed", "auth", False, "large"),
        ("failed", "auth", True, "large"),
        ("failed", "no_such_model", False, "large"),
        ("failed", "context_exceeded", False, "large"),
        ("failed", "provider_error", False, "large"),
        ("failed", "provider_error", True, "small later"),
        ("failed", "rate_limited", True, "small later"),
        ("failed", "truncated", True, "small later"),
        ("returned", None, False, "small"),
        ("unknown", None, False, "small"),
    ],
)
def test_next_step(world: World, status: str, error: str | None, retriable: bool, then: str) -> None:
    task = world.submit()
    emits = world.feed(outcome(task, status, error, retriable=retriable))
    if then == "end":
        assert (result(emits).status, result(emits).error_class) == ("failed", error)
        assert result(emits).output == [] and result(emits).error_message == f"it was {error}"
        return
    following = only(emits, CallTask)
    assert (following.attempt, following.attempt_id) == (2, ids.attempt_id("acme", "r1", 2))
    assert following.model == then.split()[0]
    assert (following.not_before is not None) == then.endswith("later")
    assert following.request == task.request
    assert actions(emits) == ["retried"]


def test_cancelled_and_expired_end_the_request(world: World) -> None:
    assert result(world.feed(outcome(world.submit("r1"), "cancelled"))).status == "cancelled"
    assert result(world.feed(outcome(world.submit("r2"), "expired"))).status == "expired"


def test_larger_window_after_context_exceeded(world: World) -> None:
    task = world.submit(model="large", candidate_models=["small"])
    assert result(world.feed(outcome(task, "failed", "context_exceeded"))).error_class == "context_exceeded"


def test_attempts_end_at_the_maximum(world: World) -> None:
    task = world.submit(model="small")
    for _ in range(2):
        task = only(world.feed(outcome(task, "failed", "provider_error", retriable=True)), CallTask)
    assert task.previous_errors == ["provider_error"] * 2
    final = result(world.feed(outcome(task, "failed", "provider_error", retriable=True)))
    assert (final.status, final.attempts, final.error_class) == ("failed", 3, "provider_error")


def test_returned_attempts_are_not_counted_but_wait_once_they_are_many(world: World) -> None:
    task = world.submit(model="small")
    waits = []
    for number in range(2, 9):
        task = only(world.feed(outcome(task, "returned", tries=0)), CallTask)
        assert task.attempt == number
        waits.append((task.not_before or T0) - T0)
    assert waits[:3] == [0, 0, 0]
    assert all(0 < wait <= 30_000 for wait in waits[3:])
    assert all(wait > 0 for wait in waits[3:])
    assert task.previous_errors == []
    for _ in range(2):
        task = only(world.feed(outcome(task, "failed", "provider_error", retriable=True)), CallTask)
    assert result(world.feed(outcome(task, "failed", "provider_error", retriable=True))).attempts == 10


def test_retry_moves_on_where_its_model_is_sick_by_now() -> None:
    health = SickModels()
    world = World(health=health)
    task = world.submit()
    health.sick = {"small"}
    following = only(world.feed(outcome(task, "failed", "provider_error", retriable=True)), CallTask)
    assert (following.model, following.not_before) == ("large", None)


class TestBackoff:
    def test_is_deterministic_jittered_and_bounded(self) -> None:
        attempts = [ids.attempt_id("acme", f"r{i}", 1) for i in range(200)]
        waits = [backoff_ms(1, attempt) for attempt in attempts]
        assert waits == [backoff_ms(1, attempt) for attempt in attempts]
        assert 250 <= min(waits) < 300 and 450 < max(waits) <= 500
        assert all(15_000 <= backoff_ms(50, attempt) <= 30_000 for attempt in attempts)
        assert backoff_ms(3, attempts[0]) > backoff_ms(1, attempts[0])

    def test_retry_after_is_a_floor(self, world: World) -> None:
        task = world.submit()
        failed = outcome(task, "failed", "rate_limited", retriable=True, retry_after_ms=7000)
        wait = (only(world.feed(failed), CallTask).not_before or 0) - T0
        assert 7000 <= wait <= 7500

    def test_a_wait_beyond_the_deadline_moves_on_or_ends(self, world: World) -> None:
        task = world.submit(deadline_at=T0 + 5000)
        failed = outcome(task, "failed", "rate_limited", retriable=True, retry_after_ms=7000)
        following = only(world.feed(failed), CallTask)
        assert (following.model, following.not_before) == ("large", None)
        failed = outcome(following, "failed", "rate_limited", retriable=True, retry_after_ms=7000)
        final = result(world.feed(failed))
        assert (final.status, final.error_class) == ("failed", "rate_limited")
        assert "outlasts the deadline" in (final.error_message or "")

    def test_no_attempt_after_the_deadline(self, world: World) -> None:
        task = world.submit(deadline_at=T0 + 5000)
        world.clock.now += 5000
        assert result(world.feed(outcome(task, "returned"))).status == "expired"


class TestSettlement:
    @pytest.mark.parametrize(
        ("told", "tokens", "estimated", "costs"),
        [
            ({"status": "failed", "error": "provider_error"}, (0, 0), False, "nothing"),
            ({"status": "failed", "error": "truncated", "maybe_paid": True}, ("worst", 1024), True, "worst"),
            ({"status": "returned", "tries": 0}, (0, 0), False, "nothing"),
            ({"status": "unknown"}, ("worst", 1024), True, "worst"),
            (
                {"status": "unknown", "usage": Usage(input_uncached=1, output=1)},
                ("worst", 1024),
                True,
                "worst",
            ),
            ({"status": "cancelled", "tries": 0}, (0, 0), False, "nothing"),
            ({"status": "succeeded", "usage": None, "cost": None}, ("worst", 1024), True, "worst"),
        ],
    )
    def test_of_an_attempt_by_what_is_known(
        self, world: World, told: dict[str, object], tokens: tuple[object, int], estimated: bool, costs: str
    ) -> None:
        task = world.submit(model="small")
        used = usage(world.feed(outcome(task, **told)))  # type: ignore[arg-type]
        worst_input = len("Say hello.") + 16
        expected = worst_input if tokens[0] == "worst" else tokens[0]
        assert (used.usage.input_uncached, used.usage.output) == (expected, tokens[1])
        assert used.usage.estimated is estimated
        assert used.cost == (task.worst_case_cost if costs == "worst" else 0)
        assert used.status == told["status"]

    def test_partial_usage_of_a_failure_counts(self, world: World) -> None:
        spent = Usage(input_uncached=9, output=1)
        failed = outcome(world.submit(), "failed", "truncated", usage=spent, cost=Decimal("0.000011"))
        used = usage(world.feed(failed))
        assert (used.usage, used.cost, used.error_class) == (spent, Decimal("0.000011"), "truncated")

    def test_unpriced_costs_stay_null(self, world: World) -> None:
        task = world.submit(model="free", lane="batch")
        assert usage(world.feed(outcome(task, "unknown"))).cost is None

    def test_repeated_outcome_is_ignored(self, world: World) -> None:
        task = world.submit()
        failed = outcome(task, "failed", "provider_error", retriable=True)
        world.feed(failed)
        assert world.feed(failed) == []
        assert world.feed(outcome(task)) == [], "whatever it says"

    def test_after_the_end_the_attempt_is_still_settled(self, world: World) -> None:
        task = world.submit()
        world.feed(control("cancel"))
        emits = world.feed(outcome(task))
        assert [type(e.record) for e in emits] == [UsageEvent]
        assert world.machine.state.requests == {}
        assert world.feed(outcome(task)) == []

    def test_truth_after_unknown_corrects(self, world: World) -> None:
        task = world.submit()
        first = usage(unknown := world.feed(outcome(task, "unknown")))
        second_task = only(unknown, CallTask)
        world.feed(outcome(second_task))
        emits = world.feed(outcome(task, "failed", "provider_error"))
        correction = usage(emits)
        assert correction.corrects == first.event_id != correction.event_id
        assert (correction.attempt_id, correction.cost) == (task.attempt_id, Decimal(0))
        assert actions(emits) == ["usage_corrected"]
        assert world.feed(outcome(task)) == [] == world.feed(outcome(task, "unknown"))

    def test_late_success_of_an_attempt_given_up_ends_the_request(self, world: World) -> None:
        task = world.submit()
        second = only(world.feed(outcome(task, "unknown")), CallTask)
        emits = world.feed(outcome(task))
        assert (result(emits).status, result(emits).attempts) == ("succeeded", 2)
        assert usage(emits).corrects
        assert not records_of(world.feed(outcome(second)), type(result(emits)))

    def test_late_failure_of_an_attempt_given_up_starts_nothing(self, world: World) -> None:
        task = world.submit()
        world.feed(outcome(task, "unknown"))
        emits = world.feed(outcome(task, "failed", "provider_error", retriable=True))
        assert [type(e.record) for e in emits] == [UsageEvent, type(emits[-1].record)]
        assert actions(emits) == ["usage_corrected"]

    def test_outcome_of_an_earlier_request_of_the_same_id_is_ignored(self, world: World) -> None:
        stale = outcome(world.submit())
        world.feed(control("cancel"))
        world.wait(50 * 3600)
        task = world.submit()
        assert task.attempt_id == stale.attempt_id
        assert world.feed(stale) == []
        assert result(world.feed(outcome(task))).status == "succeeded"

    def test_outcome_of_a_stranger_is_ignored(self, world: World) -> None:
        stranger = Outcome(
            event_id="e",
            request_id="who",
            tenant="acme",
            attempt=1,
            attempt_id="a",
            tries=1,
            model="small",
            status="succeeded",
            config_version=world.version,
            timings=Timings(accepted_at=T0),
        )
        assert world.feed(stranger) == []


class RecordingBudget:
    """A budget that writes down what it is asked, and refuses on demand."""

    def __init__(self) -> None:
        self.held: list[Hold] = []
        self.settled: list[tuple[int, Decimal | None, bool]] = []
        self.refuses = False

    def reserve(self, hold: Hold) -> Problem | None:
        self.held.append(hold)
        return Problem(code="over_budget", message="raise the budget") if self.refuses else None

    def settle(self, hold: Hold, cost: Decimal | None, correction: bool) -> None:
        self.settled.append((hold.attempt, cost, correction))


class TestBudget:
    def test_each_attempt_is_reserved_and_settled(self) -> None:
        budget = RecordingBudget()
        world = World(budget=budget)
        task = world.submit()
        second = only(world.feed(outcome(task, "unknown")), CallTask)
        world.feed(outcome(second))
        world.feed(outcome(task, "failed", "provider_error"))
        assert [(h.attempt, h.worst_case) for h in budget.held] == [
            (1, task.worst_case_cost),
            (2, second.worst_case_cost),
        ]
        assert budget.settled == [
            (1, task.worst_case_cost, False),
            (2, Decimal("0.000013"), False),
            (1, Decimal(0), True),
        ]

    def test_refusal_rejects_at_first_and_fails_a_retry(self) -> None:
        budget = RecordingBudget()
        world = World(budget=budget)
        task = world.submit("r1")
        budget.refuses = True
        assert result(world.feed(world.request("r2"))).status == "rejected"
        final = result(world.feed(outcome(task, "unknown")))
        assert (final.status, final.error_class, final.error_message) == (
            "failed",
            "over_budget",
            "raise the budget",
        )


def test_guard_turns_a_success_into_a_failure_that_is_still_paid() -> None:
    class NoHello:
        def review(self, outcome: Outcome, config: Config) -> Problem | None:
            return Problem(code="content_filter", message="it says hello")

    world = World(guard=NoHello())
    emits = world.feed(outcome(world.submit()))
    told = result(emits)
    assert (told.status, told.error_class, told.text, told.output) == ("failed", "content_filter", None, [])
    assert usage(emits).cost == Decimal("0.000013")


class TestOnUnknown:
    @pytest.mark.parametrize(
        ("tenant", "model", "default", "then"),
        [
            (None, None, "retry", "retry"),
            (None, None, "fail", "fail"),
            (None, "quarantine", "fail", "quarantine"),
            ("retry", "quarantine", "fail", "retry"),
            ("fail", None, "retry", "fail"),
        ],
    )
    def test_tenant_over_model_over_default(
        self, tenant: str | None, model: str | None, default: str, then: str
    ) -> None:
        world = World(
            config(
                tenants__acme__on_unknown=tenant,
                models__small__on_unknown=model,
                defaults__on_unknown=default,
            )
        )
        emits = world.feed(outcome(world.submit(model="small"), "unknown"))
        if then == "retry":
            assert only(emits, CallTask).previous_errors == ["unknown_outcome"]
        elif then == "fail":
            assert (result(emits).status, result(emits).error_class) == ("failed", "unknown_outcome")
        else:
            assert only(emits, DeadLetter).kind == "quarantine"

    def test_quarantine_puts_the_outcome_aside_and_keeps_the_request_open(self, world: World) -> None:
        task = world.submit("r1", "wary")
        told = outcome(task, "unknown")
        emits = world.feed(told)
        letter = only(emits, DeadLetter)
        assert (letter.id, letter.source_offset) == (f"llm.tenant-events-3-{world.offset}", world.offset)
        assert (letter.value, letter.request_id, letter.key) == (world.seams.encode(told), "r1", b"wary")
        assert next(e for e in emits if e.record is letter).topic == names.DEAD_LETTERS
        assert actions(emits) == ["quarantined"]
        assert usage(emits).status == "unknown"
        assert world.machine.open == 1
        assert result(world.wait(331)).status == "expired"

    @pytest.mark.parametrize("status", ["succeeded", "failed"])
    def test_the_truth_frees_a_quarantined_request(self, world: World, status: str) -> None:
        task = world.submit("r1", "wary")
        world.feed(outcome(task, "unknown"))
        error = None if status == "succeeded" else "provider_error"
        emits = world.feed(outcome(task, status, error, retriable=True))
        assert usage(emits).corrects
        if status == "succeeded":
            assert result(emits).status == "succeeded"
        else:
            assert only(emits, CallTask).attempt == 2


def test_outcome_without_its_task_ends_instead_of_hanging(world: World) -> None:
    returned = outcome(world.submit(), "returned")
    returned.task = None
    final = result(world.feed(returned))
    assert (final.status, final.error_class) == ("failed", "internal")
