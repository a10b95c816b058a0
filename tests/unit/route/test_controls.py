"""Cancels, operators' commands, poison records."""

import msgspec
import pytest

from schemas.records import AuditEvent, CallTask, ResultEvent
from schemas.signals import Invalid
from tests.unit.route.world import T0, World, actions, control, only, outcome, records_of, result, usage


@pytest.fixture
def world() -> World:
    return World()


class TestCancel:
    def test_of_an_open_request(self, world: World) -> None:
        world.submit(metadata={"case": "7"})
        emits = world.feed(control("cancel", reason="not needed"))
        told = result(emits)
        assert (told.status, told.error_class, told.error_message) == ("cancelled", "cancelled", "not needed")
        assert (told.metadata, told.attempts, told.model) == ({"case": "7"}, 1, "small")
        assert told.timings and (told.timings.issued_at, told.timings.completed_at) == (T0, T0)
        audit = only(emits, AuditEvent)
        assert (audit.action, audit.status, audit.actor) == ("finalised", "cancelled", "operator")

    def test_after_the_end_is_audited_for_who_gave_it(self, world: World) -> None:
        """The call stage obeys a cancel by itself: its outcome ends the request and names nobody."""
        ended = world.feed(outcome(world.submit(), "cancelled", tries=0))
        assert (result(ended).status, records_of(ended, AuditEvent)[-1].actor) == ("cancelled", "route")
        order = control("cancel", actor="operator:ann", reason="not needed")
        audit = only(emits := world.feed(order), AuditEvent)
        assert (audit.action, audit.actor, audit.reason) == ("cancel_after_end", "operator:ann", "not needed")
        assert (audit.request_id, audit.tenant, len(emits)) == ("r1", "acme", 1)
        assert world.feed(order) == [], "classify repeats it"
        another = only(world.feed(control("cancel", event_id="another", actor="bob")), AuditEvent)
        assert (another.actor, another.event_id != audit.event_id) == ("bob", True)

    def test_after_the_end_with_an_attempt_on_record_is_audited_too(self, world: World) -> None:
        world.submit()
        world.wait(331)
        assert actions(world.feed(control("cancel"))) == ["cancel_after_end"]

    def test_of_an_unknown_request_is_remembered_for_the_retention(self, world: World) -> None:
        assert actions(world.feed(control("cancel"))) == ["cancel_remembered"]
        remembered = world.machine.state.dedupe.count
        again = world.feed(control("cancel", event_id="another", actor="bob"))
        assert [(e.action, e.actor) for e in records_of(again, AuditEvent)] == [("cancel_remembered", "bob")]
        assert world.machine.state.dedupe.count == remembered + 1, "the command alone"
        world.wait(23 * 3600)
        assert result(world.feed(world.request())).status == "cancelled"

    def test_is_forgotten_after_the_retention(self, world: World) -> None:
        world.feed(control("cancel"))
        world.wait(26 * 3600)
        assert world.submit()

    def test_concerns_one_tenants_request(self, world: World) -> None:
        world.feed(control("cancel", tenant="strict"))
        assert world.submit()

    @pytest.mark.parametrize("other", [{"tenant": "strict"}, {"request_id": "r2"}])
    def test_its_id_is_its_senders_own(self, world: World, other: dict[str, str]) -> None:
        """Two services that count from 1 give the same id to different commands."""
        world.submit()
        world.submit(other.get("request_id", "r1"), other.get("tenant", "acme"))
        for order in (control("cancel", event_id="1"), control("cancel", event_id="1", **other)):  # type: ignore[arg-type]
            assert result(world.feed(order)).status == "cancelled"
            assert world.feed(order) == []

    def test_of_a_quarantined_request(self, world: World) -> None:
        world.feed(outcome(world.submit("r1", "wary"), "unknown"))
        assert result(world.feed(control("cancel", tenant="wary"))).status == "cancelled"
        assert world.feed(control("resolve", tenant="wary", resolution="fail"))[0].topic == "llm.audit"


@pytest.mark.parametrize(
    ("command", "action"),
    [("pause", "paused"), ("resume", "resumed"), ("redrive", "redriven"), ("discard", "discarded")],
)
def test_operators_commands_are_audited_once(world: World, command: str, action: str) -> None:
    order = control(command, None, None, model="small", reason="incident 7", dead_letter_id="t-0-1")
    audit = only(emits := world.feed(order), AuditEvent)
    assert (audit.action, audit.actor, audit.model, audit.reason) == (
        action,
        "operator",
        "small",
        "incident 7",
    )
    assert msgspec.json.decode(audit.details)["dead_letter_id"] == "t-0-1"
    assert len(emits) == 1
    world.flush()
    world.machine = world.reopen()
    assert world.feed(order) == [], "classify repeats it"


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (control("explode"), "unknown_command"),
        (control("cancel", None), "incomplete_command"),
        (control("resolve", tenant=None), "incomplete_command"),
    ],
)
def test_bad_command_is_refused_and_changes_nothing(world: World, order: object, reason: str) -> None:
    before = world.machine.state.snapshot()
    with pytest.raises(Invalid) as refusal:
        world.feed(order)  # type: ignore[arg-type]
    assert refusal.value.reason == reason
    assert world.machine.state.snapshot() == before


class TestResolve:
    def quarantined(self, world: World) -> CallTask:
        task = world.submit("r1", "wary")
        world.feed(outcome(task, "unknown"))
        return task

    def test_retry_makes_the_next_attempt(self, world: World) -> None:
        task = self.quarantined(world)
        emits = world.feed(control("resolve", tenant="wary", resolution="retry", task=task))
        following = only(emits, CallTask)
        assert (following.attempt, following.request) == (2, task.request)
        assert actions(emits) == ["resolved", "retried"]
        assert result(world.feed(outcome(following))).status == "succeeded"

    def test_retry_goes_beyond_the_maximum(self, world: World) -> None:
        task = self.quarantined(world)
        for number in range(2, 6):
            emits = world.feed(
                control("resolve", tenant="wary", resolution="retry", task=task, event_id=f"e{number}")
            )
            assert only(emits, CallTask).attempt == number
            world.feed(outcome(only(emits, CallTask), "unknown"))

    def test_fail_ends_the_request(self, world: World) -> None:
        self.quarantined(world)
        emits = world.feed(control("resolve", tenant="wary", resolution="fail"))
        assert (result(emits).status, result(emits).error_class) == ("failed", "unknown_outcome")
        assert actions(emits) == ["resolved", "finalised"]

    @pytest.mark.parametrize("case", ["not quarantined", "no task", "another's task", "no resolution"])
    def test_refusals_are_audited(self, world: World, case: str) -> None:
        task: CallTask | None = self.quarantined(world)
        tenant, resolution = "wary", "retry"
        if case == "not quarantined":
            tenant = "acme"
        elif case == "no task":
            task = None
        elif case == "another's task":
            task = world.submit("r2", "wary")
        else:
            resolution = "perhaps"
        order = control("resolve", tenant=tenant, resolution=resolution, task=task)
        audit = only(emits := world.feed(order), AuditEvent)
        assert (audit.action, audit.status, len(emits)) == ("resolved", "refused", 1)
        assert audit.reason


class TestPoison:
    def poison(self, world: World, record: object) -> list[str]:
        emits = world.machine.poison(record, world.next_source(), "ValueError: boom")  # type: ignore[arg-type]
        world.sent += emits
        self.emits = emits
        return actions(emits)

    def test_new_request_gets_an_end(self, world: World) -> None:
        request = world.request()
        assert self.poison(world, request) == ["accepted", "finalised", "poisoned"]
        assert (result(self.emits).status, result(self.emits).error_class) == ("failed", "internal")
        assert "boom" not in msgspec.json.encode(result(self.emits)).decode(), "for the audit trail only"
        assert records_of(self.emits, AuditEvent)[-1].reason == "ValueError: boom"
        assert world.feed(request) == []

    def test_known_request_keeps_its_one_end(self, world: World) -> None:
        request = world.request()
        task = only(world.feed(request), CallTask)
        assert self.poison(world, request) == ["poisoned"]
        assert result(world.feed(outcome(task))).status == "succeeded"

    def test_request_of_an_unknown_configuration(self, world: World) -> None:
        assert "finalised" in self.poison(world, world.request(config_version="not-here"))

    def test_too_old_request_gets_no_result(self, world: World) -> None:
        assert self.poison(world, world.request(accepted_at=T0 - 25 * 3_600_000)) == ["poisoned"]

    def test_outcome_ends_its_request_at_worst_case(self, world: World) -> None:
        task = world.submit()
        assert self.poison(world, outcome(task)) == ["finalised", "poisoned"]
        assert (result(self.emits).status, usage(self.emits).cost) == ("failed", task.worst_case_cost)

    def test_outcome_redriven_after_the_mend_corrects_what_was_paid(self, world: World) -> None:
        task = world.submit()
        self.poison(world, outcome(task))
        settled = usage(self.emits)
        world.flush()
        world.machine = world.reopen()
        correction = usage(world.feed(outcome(task)))
        assert (correction.corrects, correction.cost) == (settled.event_id, outcome(task).cost)
        assert world.machine.state.requests == {}

    def test_outcome_never_redriven_is_forgotten_after_the_retention(self, world: World) -> None:
        self.poison(world, outcome(world.submit()))
        assert world.wait(25 * 3600) == []
        assert world.machine.state.requests == {}

    def test_late_outcome_leaves_the_attempt_that_runs_alone(self, world: World) -> None:
        task = world.submit()
        second = only(world.feed(outcome(task, "unknown")), CallTask)
        assert self.poison(world, outcome(task)) == ["poisoned"]
        assert not records_of(self.emits, ResultEvent)
        assert result(world.feed(outcome(second))).status == "succeeded"

    @pytest.mark.parametrize("ended", [False, True])
    def test_outcome_of_a_stranger_or_of_a_final_request(self, world: World, ended: bool) -> None:
        task = world.submit()
        if ended:
            world.feed(outcome(task))
        else:
            task.request_id = "stranger"
        assert self.poison(world, outcome(task)) == ["poisoned"]
        assert not records_of(self.emits, ResultEvent)

    def test_command_and_unreadable_record_are_audited(self, world: World) -> None:
        assert self.poison(world, control("cancel")) == ["poisoned"]
        assert self.poison(world, None) == ["poisoned"]
