"""Sessions: what one request leaves for the next under the same session_id.

Most requests leave nothing, though most clients send a session_id: so a session gets a connection of its own
only when a statement makes state (SET, USE, CREATE TEMPORARY TABLE). Until then it is but a name with a deadline.
"""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from streams.local.clickhouse_server import errors, sql
from streams.local.clickhouse_server.engine import Connection

_DEFAULT_TIMEOUT_S: Final = 60
_MAX_TIMEOUT_S: Final = 3600
_MAX_SESSIONS: Final = 10_000
_TEMPORARY = re.compile(rb"\s*(?:create|replace)\s+(?:or\s+replace\s+)?temporary\s", re.IGNORECASE)


@dataclass
class Session:
    """`connection` is None while there is no state; `altered` says that a SET was run."""

    until: float
    timeout_s: float
    busy: bool = False
    connection: Connection | None = None
    altered: bool = False


def makes_state(statement: bytes) -> bool:
    """True for a statement whose effect a session must keep."""
    return sql.first_word(statement) in ("SET", "USE") or _TEMPORARY.match(statement) is not None


class Sessions:
    """The sessions of all users. Not thread-safe: used from the event loop alone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: dict[tuple[str, str], Session] = {}

    @contextlib.contextmanager
    def use(self, user: str, options: dict[str, str]) -> Iterator[Session | None]:
        """The session that a request names, locked for its time; None if it names none.

        Raises EngineError SESSION_NOT_FOUND (with session_check), SESSION_IS_LOCKED, or BAD_ARGUMENTS.
        """
        name = options.get("session_id", "")
        if not name:
            yield None
            return
        session = self._find((user, name), options)
        session.busy = True
        try:
            yield session
        finally:
            session.busy = False
            session.until = self._clock() + session.timeout_s

    def _find(self, key: tuple[str, str], options: dict[str, str]) -> Session:
        timeout_s = _timeout(options.get("session_timeout", ""))
        session = self._sessions.get(key)
        if session is None and options.get("session_check", "0") in ("1", "true"):
            raise errors.EngineError(errors.SESSION_NOT_FOUND, f"Session {key[1]} not found")
        if session is not None and session.busy:
            message = f"Session {key[1]} is locked by a concurrent client"
            raise errors.EngineError(errors.SESSION_IS_LOCKED, message)
        if session is None:
            if len(self._sessions) >= _MAX_SESSIONS:
                message = f"{_MAX_SESSIONS} sessions are open: use shorter timeouts"
                raise errors.EngineError(errors.TOO_MANY_SIMULTANEOUS_QUERIES, message)
            session = self._sessions[key] = Session(0.0, timeout_s)
        session.timeout_s = timeout_s
        return session

    def take_expired(self) -> list[Connection]:
        """Forget the sessions whose time is up; their connections are the caller's to close."""
        now = self._clock()
        over = [key for key, session in self._sessions.items() if not session.busy and session.until <= now]
        found = [self._sessions.pop(key).connection for key in over]
        return [connection for connection in found if connection is not None]

    def take_all(self) -> list[Connection]:
        """Forget every session, at the end."""
        found = [session.connection for session in self._sessions.values() if not session.busy]
        self._sessions.clear()
        return [connection for connection in found if connection is not None]


def _timeout(text: str) -> float:
    if not text:
        return _DEFAULT_TIMEOUT_S
    if not text.isascii() or not text.isdigit() or int(text) > _MAX_TIMEOUT_S:
        message = f"session_timeout '{text}': give whole seconds, {_MAX_TIMEOUT_S} at most"
        raise errors.EngineError(errors.BAD_ARGUMENTS, message)
    return int(text)
