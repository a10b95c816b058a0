"""The watch over aiokafka's heartbeats, and that aiokafka still has what it reaches into."""

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.group_coordinator import GroupCoordinator

from streams.services.call.heartbeat import HeartbeatWatch


class Coordinator:
    def __init__(self) -> None:
        self.answer: bool | Exception = True
        self.before_answer: Any = lambda: None

    async def _do_heartbeat(self) -> bool:
        self.before_answer()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def parts() -> tuple[Coordinator, HeartbeatWatch, list[float]]:
    coordinator, now = Coordinator(), [100.0]
    consumer: Any = SimpleNamespace(_coordinator=coordinator)
    return coordinator, HeartbeatWatch(consumer, 8.0, lambda: now[0]), now


async def test_fresh_for_half_the_session_timeout(
    parts: tuple[Coordinator, HeartbeatWatch, list[float]],
) -> None:
    coordinator, watch, now = parts
    assert not watch.fresh, "nothing was answered yet"
    assert await coordinator._do_heartbeat() is True, "aiokafka's own loop goes through the watch"
    now[0] = 103.99
    assert watch.fresh and watch.lease_until == 104.0
    now[0] = 104.0
    assert not watch.fresh


async def test_the_age_counts_from_the_sending(
    parts: tuple[Coordinator, HeartbeatWatch, list[float]],
) -> None:
    """An answer that was long on its way, or read late by a process that stood still, is as old as its question."""
    coordinator, watch, now = parts

    def slow() -> None:
        now[0] += 10

    coordinator.before_answer = slow
    await watch.confirm()
    assert not watch.fresh


async def test_a_refusal_or_an_error_renews_nothing(
    parts: tuple[Coordinator, HeartbeatWatch, list[float]],
) -> None:
    coordinator, watch, now = parts
    await watch.confirm()
    now[0] = 103.0
    coordinator.answer = False
    assert await coordinator._do_heartbeat() is False
    coordinator.answer = ConnectionError()
    with pytest.raises(ConnectionError):
        await coordinator._do_heartbeat()
    assert watch.lease_until == 104.0


def test_aiokafka_still_has_what_the_watch_reaches_into() -> None:
    """Fails with an aiokafka whose heartbeat loop no longer calls `self._do_heartbeat()`, or renames the rest."""
    loop = inspect.getsource(GroupCoordinator._heartbeat_routine)
    assert "success = await self._do_heartbeat()" in loop
    assert inspect.iscoroutinefunction(GroupCoordinator._do_heartbeat)
    assert list(inspect.signature(GroupCoordinator._do_heartbeat).parameters) == ["self"]
    assert "self._coordinator = GroupCoordinator(" in inspect.getsource(AIOKafkaConsumer.start)
    answers = inspect.getsource(GroupCoordinator._do_heartbeat)
    assert "return True" in answers and "return False" in answers


def test_aiokafka_still_gives_the_metadata_of_commits_to_the_admin_client() -> None:
    from aiokafka.admin import AIOKafkaAdminClient

    source = inspect.getsource(AIOKafkaAdminClient.list_consumer_group_offsets)
    assert "OffsetAndMetadata(offset, metadata)" in source
