"""Where a request goes after an attempt that didn't succeed, and when."""

from typing import Any

import pytest

from processors.route.next_step import backoff_ms
from schemas import ids
from schemas.config import Config
from schemas.records import CallTask
from tests.unit.route.world import T0, SickModels, World, actions, config, only, outcome, result


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize(
    ("status", "error", "retriable", "then"),
    [
        ("failed", "invalid_request", False, "end"),
        ("failed", "content_filter", True, "end"),
        ("failed", "result_too_large", False, "end"),
        ("failed", "content_refused", False, "end"),
        ("failed", "content_unavailable", True, "small later"),
        ("failed", "unsupported_parameter", False, "large"),
        ("failed", "spend_limit", False, "large"),
        ("failed", "auth", False, "large"),
        ("failed", "auth", True, "large"),
        ("failed", "forbidden", True, "large"),
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


def three_models(attempts: int) -> Config:
    """Requests have the candidates small, large, free in this order."""
    lanes = ["interactive", "standard", "batch"]
    routes = [{"models": ["small", "large", "free"]}]
    return config(defaults__max_attempts=attempts, models__free__lanes=lanes, routes=routes)


def failing(world: World, task: CallTask, times: int, **how: Any) -> list[str]:
    """The models that are called while every call fails in a way that may pass."""
    models = [task.model]
    for _ in range(times):
        told = outcome(task, "failed", "provider_error", retriable=True, **how)
        task = only(world.feed(told), CallTask)
        models.append(task.model)
    return models


class TestMovingOn:
    def test_the_second_failure_in_a_row_goes_to_the_next_candidate_and_round(self) -> None:
        world = World(three_models(attempts=8))
        models = failing(world, world.submit(), 6)
        assert models == ["small", "small", "large", "large", "free", "free", "small"]

    def test_without_a_wait_for_the_model_left_behind(self, world: World) -> None:
        task = world.submit()
        for _ in range(2):
            task = only(world.feed(outcome(task, "failed", "provider_error", retriable=True)), CallTask)
        assert (task.model, task.not_before) == ("large", None)

    def test_the_only_candidate_is_waited_for(self, world: World) -> None:
        task = world.submit(model="small")
        for _ in range(2):
            task = only(world.feed(outcome(task, "failed", "provider_error", retriable=True)), CallTask)
        assert task.model == "small" and (task.not_before or 0) > T0

    def test_what_is_sick_or_ruled_out_is_passed_over(self) -> None:
        world = World(three_models(attempts=8), health=SickModels({"large"}))
        assert failing(world, world.submit("r1"), 2) == ["small", "small", "free"]
        task = world.submit("r2", model="large", candidate_models=["small", "free"])
        assert task.model == "small", "large is sick"
        task = only(world.feed(outcome(task, "failed", "auth")), CallTask)
        assert failing(world, task, 2) == ["free", "free", "free"]

    def test_a_long_retry_after_goes_there_at_once(self, world: World) -> None:
        task = world.submit("r1")
        told = outcome(task, "failed", "rate_limited", retriable=True, retry_after_ms=10_001)
        following = only(world.feed(told), CallTask)
        assert (following.model, following.not_before) == ("large", None)
        alone = world.submit("r2", model="small")
        told = outcome(alone, "failed", "rate_limited", retriable=True, retry_after_ms=10_001)
        following = only(world.feed(told), CallTask)
        assert following.model == "small" and (following.not_before or 0) > T0 + 10_000

    @pytest.mark.parametrize("status", ["returned", "unknown"])
    def test_what_says_nothing_of_the_model_isnt_counted(self, world: World, status: str) -> None:
        task = world.submit()
        for told in ("failed", status):
            task = only(world.feed(outcome(task, told, retriable=told == "failed")), CallTask)
        assert task.model == "small"

    def test_failures_before_another_model_was_called_count_no_more(self) -> None:
        world = World(three_models(attempts=8))
        task = world.submit()
        task = only(world.feed(outcome(task, "failed", "provider_error", retriable=True)), CallTask)
        task = only(
            world.feed(outcome(task, "failed", "rate_limited", retriable=True, retry_after_ms=20_000)),
            CallTask,
        )
        assert failing(world, task, 1) == ["large", "large"]
        world.flush()
        world.machine = world.reopen()
        (task,) = [e.record for e in world.sent if isinstance(e.record, CallTask)][-1:]
        assert failing(world, task, 1) == ["large", "free"], "the count outlives a restart"
