"""What becomes of a classified request."""

from decimal import Decimal

import msgspec
import pytest

from processors.policy import Verdict
from schemas import ids, names
from schemas.records import AuditEvent, CallTask, ClassifiedRequest, ContentPart, Message, Parameters, Problem
from schemas.signals import Invalid
from tests.unit.route.world import (
    T0,
    SickModels,
    World,
    actions,
    config,
    control,
    only,
    outcome,
    problem,
    records_of,
    result,
)


@pytest.fixture
def world() -> World:
    return World()


def test_accepted_request_becomes_a_call_and_an_audit_event(world: World) -> None:
    request = world.request(application="crm", user="ann", metadata={"case": "7"}, idempotency_key="k")
    emits = world.feed(request)
    task, audit = only(emits, CallTask), only(emits, AuditEvent)
    call = next(e for e in emits if e.record is task)
    assert (call.topic, call.key, call.partition) == ("llm.calls.small.standard", b"r1", None)
    assert (task.attempt, task.model, task.route_partition, task.request) == (1, "small", 3, request.request)
    assert task.attempt_id == ids.attempt_id("acme", "r1", 1)
    assert (task.issued_at, task.accepted_at, task.config_version) == (T0, T0 - 20, world.version)
    assert (audit.action, audit.sequence, audit.previous_hash) == ("accepted", 1, b"")
    assert (audit.model, audit.application, audit.user, audit.metadata) == (
        "small",
        "crm",
        "ann",
        {"case": "7"},
    )
    details = msgspec.json.decode(audit.details)
    assert details["source_offset"] == request.source_offset
    assert details["candidates"] == ["small", "large"]
    assert details["why"] == "rule 2: first candidate"
    assert (details["idempotency_key"], details["deadline_at"]) == ("k", request.deadline_at)
    assert Decimal(details["worst_case_cost"]) == task.worst_case_cost
    assert (world.machine.accepted, world.machine.terminal) == (1, 0)


def test_results_carry_headers_to_filter_by(world: World) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    task = world.submit(application="crm", traceparent=trace)
    for emit in world.feed(outcome(task)):
        assert emit.key == b"acme"
        headers = dict(emit.headers)
        assert headers[names.HEADER_TENANT] == b"acme"
        assert headers[names.HEADER_APPLICATION] == b"crm"
        assert headers[names.HEADER_REQUEST_ID] == b"r1"
        assert headers[names.HEADER_STATUS] == b"succeeded"
        assert headers[names.HEADER_EVENT_ID] == emit.record.event_id.encode()  # type: ignore[attr-defined]
        if emit.topic == names.RESULTS:
            assert (headers[names.HEADER_KIND], headers[names.HEADER_TRACEPARENT]) == (
                b"terminal",
                trace.encode(),
            )


@pytest.mark.parametrize(
    ("fields", "model", "why"),
    [
        ({}, "small", "rule 2"),
        ({"task_type": "extraction"}, "large", "rule 1"),
        ({"task_type": "bulk", "lane": "batch"}, "free", "rule 0"),
        ({"task_type": "bulk"}, "small", "rule 2"),
        ({"model": "fast"}, "small", "named"),
        ({"model": "large"}, "large", "named"),
        ({"candidate_models": ["large", "fast"]}, "large", "rule 2, restricted"),
        ({"candidate_models": ["large"], "model": "fast"}, "small", "named"),
        ({"candidate_models": ["free", "fast"]}, "small", "rule 2, restricted"),
        ({"candidate_models": ["free"], "lane": "batch"}, "free", "rule 2, restricted"),
        ({"tenant": "narrow"}, "small", "rule 2"),
        ({"model": "free", "candidate_models": ["large"]}, "large", "named"),
    ],
)
def test_choice_of_the_model(world: World, fields: dict[str, object], model: str, why: str) -> None:
    emits = world.feed(world.request(**fields))  # type: ignore[arg-type]
    assert only(emits, CallTask).model == model
    assert msgspec.json.decode(only(emits, AuditEvent).details)["why"].startswith(why)


@pytest.mark.parametrize(
    ("fields", "code", "says"),
    [
        ({"model": "gpt-99"}, "unknown_model", "use one of fast, free, large, small"),
        ({"model": "gpt-99", "tenant": "narrow"}, "unknown_model", "use one of fast, small"),
        ({"candidate_models": ["gpt-99"]}, "unknown_model", "gpt-99"),
        ({"model": "large", "tenant": "narrow"}, "model_not_allowed", "'narrow' may not use 'large'"),
        ({"task_type": "extraction", "tenant": "narrow"}, "no_route", "set model to one of small"),
        ({"model": "free"}, "lane_not_offered", "free offers batch; set lane"),
        ({"problems": [problem("a"), problem("b")]}, "a", "shorten it"),
    ],
)
def test_rejected_says_what_to_fix(world: World, fields: dict[str, object], code: str, says: str) -> None:
    emits = world.feed(world.request(**fields))  # type: ignore[arg-type]
    rejected = result(emits)
    assert (rejected.kind, rejected.status, rejected.error_class) == ("terminal", "rejected", code)
    assert rejected.problems and rejected.problems[0].code == code
    assert says in (rejected.error_message or "")
    assert actions(emits) == ["accepted", "finalised"]
    assert not records_of(emits, CallTask)
    assert (world.machine.accepted, world.machine.terminal, world.machine.state.requests) == (1, 1, {})


@pytest.mark.parametrize(
    ("left_ms", "status"), [(-1, "expired"), (0, "expired"), (1, None)], ids=["past", "now", "ahead"]
)
def test_deadline_on_arrival(world: World, left_ms: int, status: str | None) -> None:
    emits = world.feed(world.request(deadline_at=T0 + left_ms))
    if status:
        assert (result(emits).status, result(emits).error_class) == (status, "deadline_exceeded")
    else:
        assert only(emits, CallTask)


def test_first_healthy_candidate_is_chosen() -> None:
    health = SickModels({"small"})
    world = World(health=health)
    assert world.submit("r1").model == "large"
    health.sick = {"small", "large"}
    assert world.submit("r2").model == "small", "where none is healthy the first one waits"


def test_policy_narrows_or_refuses_before_the_choice() -> None:
    class NoSmall:
        def review(self, request: ClassifiedRequest, candidates: object, config: object) -> Verdict:
            if request.request.user == "eve":
                return Verdict(problems=(Problem(code="forbidden", message="ask for access"),))
            return Verdict(candidates=("large",))

    world = World(policy=NoSmall())
    assert world.submit("r1").model == "large"
    assert result(world.feed(world.request("r2", user="eve"))).error_class == "forbidden"


@pytest.mark.parametrize(
    ("model", "asked", "sent"),
    [("small", None, 1024), ("small", 7, 7), ("large", None, 500), ("large", 9999, 500)],
)
def test_bound_on_output_is_always_sent(world: World, model: str, asked: int | None, sent: int) -> None:
    parameters = Parameters(max_tokens=asked) if asked else None
    assert world.submit(model=model, parameters=parameters).max_output_tokens == sent


def test_worst_case_is_bounded_by_bytes_and_the_context_window(world: World) -> None:
    small = Decimal(2 * 1024) / 1_000_000
    text = world.submit("r1", model="small", prompt="é" * 100).worst_case_cost
    assert text == small + Decimal(200 + 16) / 1_000_000
    part = ContentPart(type="image", uri="s3://bucket/cat")
    by_reference = world.request(
        "r2", model="small", prompt=None, messages=[Message(role="user", content=[part])]
    )
    assert only(world.feed(by_reference), CallTask).worst_case_cost == small + Decimal(4000) / 1_000_000
    assert world.submit("r3", model="free", lane="batch").worst_case_cost is None


class TestRepeats:
    def test_classify_repeating_itself_is_ignored(self, world: World) -> None:
        request = world.request(idempotency_key="k")
        world.feed(request)
        before = world.machine.state.snapshot()
        assert world.feed(request) == []
        assert world.machine.state.snapshot() == before

    def test_also_where_the_request_is_final_or_was_rejected(self, world: World) -> None:
        first, bad = world.request("r1"), world.request("r2", model="gpt-99")
        task = only(world.feed(first), CallTask)
        world.feed(bad)
        world.feed(outcome(task))
        assert world.feed(first) == world.feed(bad) == []

    @pytest.mark.parametrize(
        ("again", "kind"),
        [
            ({"id_": "r1"}, "duplicate"),
            ({"id_": "r1", "idempotency_key": "other"}, "duplicate"),
            ({"id_": "r1", "prompt": "Else."}, "conflict"),
            ({"id_": "r2", "idempotency_key": "k"}, "duplicate"),
            ({"id_": "r2", "idempotency_key": "k", "prompt": "Else."}, "conflict"),
            ({"id_": "r2"}, None),
            ({"id_": "r1", "tenant": "strict"}, None),
            ({"id_": "r2", "tenant": "strict", "idempotency_key": "k"}, None),
        ],
    )
    @pytest.mark.parametrize("ended", [False, True])
    def test_the_client_repeating_itself(
        self, world: World, again: dict[str, str], kind: str | None, ended: bool
    ) -> None:
        task = world.submit("r1", idempotency_key="k")
        if ended:
            world.feed(outcome(task))
        emits = world.feed(world.request(**again))
        if kind is None:
            assert only(emits, CallTask)
            return
        notice = result(emits)
        assert (notice.kind, notice.status, notice.original_request_id) == (kind, kind, "r1")
        assert notice.request_id == again["id_"]
        assert (notice.error_class == "conflict") == (kind == "conflict")
        assert actions(emits) == [kind]
        assert (world.machine.accepted, world.machine.terminal) == (1, int(ended))

    def test_each_repeat_is_told_once(self, world: World) -> None:
        world.submit("r1")
        second, third = world.request("r1"), world.request("r1")
        told = [result(world.feed(request)).event_id for request in (second, third)]
        assert len(set(told)) == 2
        assert world.feed(second) == world.feed(third) == [], "classify repeats the repeat"

    def test_dedupe_outlives_a_restart(self, world: World) -> None:
        request = world.request("r1", idempotency_key="k")
        world.feed(request)
        world.flush()
        world.machine = world.reopen()
        assert world.feed(request) == []
        assert result(world.feed(world.request("r2", idempotency_key="k"))).original_request_id == "r1"

    def test_a_request_open_for_longer_than_remembered_is_still_one(self, world: World) -> None:
        first = world.request("r1", deadline_at=T0 + 40 * 3_600_000)
        world.feed(first)
        world.wait(26 * 3600)
        assert world.machine.state.dedupe.count == 0
        assert world.feed(first) == []
        assert result(world.feed(world.request("r1"))).kind == "duplicate"


class TestTooOld:
    @pytest.mark.parametrize(("hours", "refused"), [(23.9, False), (24.1, True)])
    def test_beyond_the_retention(self, world: World, hours: float, refused: bool) -> None:
        request = world.request(accepted_at=T0 - int(hours * 3_600_000))
        if not refused:
            assert actions(world.feed(request)) == ["accepted"]
            return
        before = world.machine.state.snapshot()
        with pytest.raises(Invalid) as refusal:
            world.feed(request)
        assert refusal.value.reason == "too_old"
        assert "submit it again" in refusal.value.message
        assert world.machine.state.snapshot() == before

    def test_dropping_at_the_cap_raises_a_durable_watermark(self) -> None:
        world = World(config(defaults__dedupe_max_entries=1000))
        for number in range(1200):
            world.clock.now += 10
            world.submit(f"r{number}")
        world.flush()
        world.machine = world.reopen()
        assert world.machine.state.dedupe.count <= 1000
        with pytest.raises(Invalid) as refusal:
            world.feed(world.request("old", accepted_at=T0 + 5))
        assert refusal.value.reason == "too_old"
        assert world.submit("new")

    def test_retention_comes_from_the_active_configuration(self, world: World) -> None:
        world.configs.add(config(defaults__dedupe_hours=8))
        with pytest.raises(Invalid):
            world.feed(world.request(accepted_at=T0 - 9 * 3_600_000))


def test_cancel_before_the_request_ends_it_at_once(world: World) -> None:
    assert actions(world.feed(control("cancel"))) == ["cancel_remembered"]
    world.flush()
    world.machine = world.reopen()
    emits = world.feed(world.request())
    assert (result(emits).status, actions(emits)) == ("cancelled", ["accepted", "finalised"])
    assert not records_of(emits, CallTask)


def test_unknown_configuration_is_the_outbox_concern(world: World) -> None:
    with pytest.raises(KeyError):
        world.feed(world.request(config_version="not-here"))
    assert world.machine.accepted == 0


def test_the_stamped_configuration_holds_for_the_requests_life(world: World) -> None:
    task = world.submit()
    world.configs.add(config(defaults__max_attempts=1))
    failed = world.feed(outcome(task, "failed", "provider_error", retriable=True))
    assert only(failed, CallTask).config_version == world.version
