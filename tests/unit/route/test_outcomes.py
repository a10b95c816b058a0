"""What follows an outcome: settlement, the end, or another attempt."""

import json
from decimal import Decimal
from typing import Any

import pytest

from schemas import names
from schemas.config import Config
from schemas.records import (
    AuditEvent,
    CallTask,
    ContentPart,
    DeadLetter,
    Outcome,
    Problem,
    Timings,
    Usage,
    UsageEvent,
)
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

    def test_the_audit_names_the_attempt_that_ended_the_request(self) -> None:
        health = SickModels()
        world = World(health=health)
        task = world.submit()
        health.sick = {"small"}
        assert only(world.feed(outcome(task, "unknown")), CallTask).model == "large"
        emits = world.feed(outcome(task))
        audit = next(e for e in records_of(emits, AuditEvent) if e.action == "finalised")
        assert (audit.attempt, audit.model, result(emits).model) == (1, "small", "small")

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


def test_dropped_parameters_end_in_the_audit_and_in_the_result(world: World) -> None:
    dropped = ["parameters.seed", "parameters.top_k"]
    emits = world.feed(outcome(world.submit(), dropped=dropped, finish_reason_raw="end_turn"))
    [audited] = records_of(emits, AuditEvent)
    assert json.loads(audited.details)["dropped"] == dropped
    assert (result(emits).dropped, result(emits).finish_reason_raw) == (dropped, "end_turn")


def test_parameters_of_an_attempt_that_failed_are_audited_with_the_next(world: World) -> None:
    failed = outcome(world.submit(), "failed", "provider_error", retriable=True, dropped=["parameters.seed"])
    emits = world.feed(failed)
    [audited] = records_of(emits, AuditEvent)
    assert audited.action == "retried" and json.loads(audited.details)["dropped"] == ["parameters.seed"]
    done = world.feed(outcome(only(emits, CallTask)))
    [audited] = records_of(done, AuditEvent)
    assert "dropped" not in json.loads(audited.details), "the attempt that ended the request dropped nothing"


def test_a_refused_parameter_is_audited_with_its_name(world: World) -> None:
    emits = world.feed(outcome(world.submit(), "failed", "unsupported_parameter"))
    [audited] = records_of(emits, AuditEvent)
    assert (audited.action, audited.reason) == ("retried", "unsupported_parameter")
    assert json.loads(audited.details)["unsupported"] == "it was unsupported_parameter"


def test_what_a_cost_was_made_of_travels_to_result_and_usage(world: World) -> None:
    task = world.submit("r1")
    told = outcome(task, cost_basis="per_token", price_version="config 2026-07-01")
    emits = world.feed(told)
    for event in (result(emits), usage(emits)):
        assert (event.cost_basis, event.price_version) == ("per_token", "config 2026-07-01")


def test_a_cost_that_is_what_was_reserved_says_so(world: World) -> None:
    task = world.submit("r1", model="small")
    used = usage(world.feed(outcome(task, "failed", "truncated", maybe_paid=True, cost=None, usage=None)))
    assert (used.cost, used.cost_basis, used.price_version) == (task.worst_case_cost, "worst_case", None)
    unpaid = world.submit("r2", model="small")
    used = usage(world.feed(outcome(unpaid, "failed", "auth", cost=None, usage=None)))
    assert (used.cost, used.cost_basis) == (0, None)
    unpriced = world.submit("r3", model="free", lane="batch")
    used = usage(world.feed(outcome(unpriced, "failed", "truncated", maybe_paid=True, cost=None, usage=None)))
    assert (used.cost, used.cost_basis) == (None, None)
