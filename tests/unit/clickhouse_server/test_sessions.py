"""Sessions: their time, their lock, and when they have state."""

import pytest

from streams.local.clickhouse_server.errors import (
    BAD_ARGUMENTS,
    SESSION_IS_LOCKED,
    SESSION_NOT_FOUND,
    EngineError,
)
from streams.local.clickhouse_server.sessions import Sessions, makes_state


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Held:
    """Stands for a connection; the sessions only hand it back."""

    def close(self) -> None: ...


def test_session_lives_for_its_timeout_after_its_last_use() -> None:
    clock = Clock()
    sessions, held = Sessions(clock), Held()
    with sessions.use("default", {"session_id": "a", "session_timeout": "10"}) as session:
        assert session is not None
        session.connection = held  # type: ignore[assignment]
        clock.now = 100  # in use it doesn't age
        assert sessions.take_expired() == []
    clock.now = 109
    assert sessions.take_expired() == []
    with sessions.use("default", {"session_id": "a", "session_timeout": "10", "session_check": "1"}) as again:
        assert again is session
    clock.now = 119
    assert sessions.take_expired() == [held]
    with (
        pytest.raises(EngineError) as raised,
        sessions.use("default", {"session_id": "a", "session_check": "1"}),
    ):
        pass
    assert raised.value.code == SESSION_NOT_FOUND


def test_session_in_use_is_locked_for_its_user_alone() -> None:
    sessions = Sessions(Clock())
    with sessions.use("default", {"session_id": "a"}):
        with pytest.raises(EngineError) as raised, sessions.use("default", {"session_id": "a"}):
            pass
        assert raised.value.code == SESSION_IS_LOCKED
        with sessions.use("analyst", {"session_id": "a"}) as other:
            assert other is not None


def test_no_session_named() -> None:
    with Sessions(Clock()).use("default", {}) as session:
        assert session is None


@pytest.mark.parametrize("timeout", ["-1", "1.5", "3601", "x", "٣"])
def test_bad_timeouts(timeout: str) -> None:
    options = {"session_id": "a", "session_timeout": timeout}
    with pytest.raises(EngineError) as raised, Sessions(Clock()).use("default", options):
        pass
    assert raised.value.code == BAD_ARGUMENTS


@pytest.mark.parametrize(
    ("statement", "keeps"),
    [
        (b"SET a = 1", True),
        (b"-- c\nUSE x", True),
        (b"create temporary table x (a Int8)", True),
        (b"CREATE OR REPLACE TEMPORARY TABLE x (a Int8)", True),
        (b"CREATE TABLE temporary (a Int8)", False),
        (b"SELECT 'SET a'", False),
        (b"INSERT INTO t VALUES (1)", False),
    ],
)
def test_what_makes_state(statement: bytes, keeps: bool) -> None:
    assert makes_state(statement) is keeps
