"""Expiry, forgetting, and the timers' own structure."""

import pytest

from processors.route.timers import Timers
from schemas.records import UsageEvent
from tests.unit.route.world import T0, World, actions, config, control, outcome, records_of, result, usage


@pytest.fixture
def world() -> World:
    return World()


def test_expires_after_deadline_and_grace_not_before(world: World) -> None:
    task = world.submit(deadline_at=T0 + 60_000)
    assert world.wait(89) == []
    emits = world.wait(3)
    assert (result(emits).status, result(emits).error_class) == ("expired", "deadline_exceeded")
    assert actions(emits) == ["finalised"]
    assert world.wait(60) == []
    assert [type(e.record) for e in world.feed(outcome(task))] == [UsageEvent]
    assert world.machine.state.requests == {}


def test_grace_is_of_the_configuration_that_holds() -> None:
    world = World(config(defaults__grace_s=5))
    world.submit(deadline_at=T0 + 60_000)
    world.configs.add(config(defaults__grace_s=500))
    assert result(world.wait(67)).status == "expired"


def test_attempt_never_heard_of_is_settled_when_forgotten(world: World) -> None:
    task = world.submit()
    world.wait(400)
    assert world.wait(23 * 3600) == []
    used = usage(emits := world.wait(3600))
    assert (used.status, used.usage.estimated, used.cost) == ("unknown", True, task.worst_case_cost)
    assert used.attempt_id == task.attempt_id
    assert len(emits) == 1
    assert world.machine.state.requests == {}
    assert world.feed(outcome(task)) == []


def test_timer_of_the_deadline_is_stale_once_the_request_is_final(world: World) -> None:
    task = world.submit()
    world.feed(control("cancel"))
    assert world.wait(400) == []
    assert usage(world.feed(outcome(task))).cost == outcome(task).cost


def test_attempt_settled_as_unknown_is_forgotten_quietly(world: World) -> None:
    world.feed(outcome(world.submit("r1", "strict"), "unknown"))
    assert len(world.machine.state.requests) == 1
    assert records_of(world.wait(25 * 3600), UsageEvent) == []
    assert world.machine.state.requests == {}


def test_an_attempt_is_not_forgotten_while_its_outcome_is_on_its_way() -> None:
    """A deadline as long as the memory: the request expires when its id may be forgotten."""
    world = World(config(defaults__dedupe_hours=1, limits__max_deadline_s=3500))
    task = world.submit(deadline_at=T0 + 3_500_000)
    assert result(world.wait(3532)).status == "expired"
    assert world.wait(600) == []
    used = usage(world.feed(outcome(task)))
    assert (used.status, used.cost) == ("succeeded", outcome(task).cost)


def test_timers_outlive_a_restart(world: World) -> None:
    world.submit(deadline_at=T0 + 60_000)
    world.flush()
    world.machine = world.reopen()
    due = world.machine.next_due()
    assert due is not None and T0 + 90_000 <= due <= T0 + 92_000
    assert result(world.wait(92)).status == "expired"


def test_nothing_to_do_is_none_and_dedupe_ages_by_itself(world: World) -> None:
    assert world.machine.next_due() is None
    world.feed(outcome(world.submit()))
    world.wait(26 * 3600)
    assert world.machine.next_due() is None
    assert world.machine.state.dedupe.count == 0


def test_tick_does_at_most_so_many(world: World) -> None:
    for number in range(25):
        world.submit(f"r{number}")
    world.clock.now += 400_000
    batches = []
    while (due := world.machine.next_due()) is not None and due <= world.clock.now:
        batches.append(actions(world.machine.tick(world.clock.now, most=10)).count("finalised"))
    assert batches == [10, 10, 5]


class TestTimers:
    def test_take_gives_what_is_due_in_order_of_buckets(self) -> None:
        timers = Timers()
        for second in (30, 10, 20):
            timers.file(bytes([second]), second * 1000)
        assert timers.take(9000, 10) == []
        assert timers.take(21_600, 10) == [bytes([10]), bytes([20])]
        due = timers.next_due()
        assert due is not None and 30_000 < due <= 31_024
        assert timers.take(due, 10) == [bytes([30])]
        assert timers.next_due() is None

    def test_prune_keeps_the_live_ones(self) -> None:
        timers = Timers()
        for number in range(30_000):
            timers.file(number.to_bytes(4, "big"), number * 10)
        live = {number.to_bytes(4, "big") for number in range(0, 30_000, 10)}
        timers.prune(live, len(live))
        taken = timers.take(10**9, 10**6)
        assert set(taken) == live and len(taken) == len(live)

    def test_prune_waits_until_it_pays(self) -> None:
        timers = Timers()
        for number in range(100):
            timers.file(bytes([number]), 0)
        timers.prune(set(), 0)
        assert len(timers.take(10_000, 1000)) == 100


def test_finished_requests_with_far_deadlines_take_no_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processors.route.timers._SLACK", 100)
    for number in range(500):
        task = world.submit(f"r{number}", deadline_at=T0 + 6 * 3_600_000)
        world.feed(outcome(task))
        world.flush()
    assert world.machine._timers._filed <= 101
