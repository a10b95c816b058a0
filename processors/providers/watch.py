"""The time limits of one running call, and the way to stop it from outside."""

import asyncio
from typing import Literal

from schemas.config import Timeouts

StopReason = Literal[
    "timeout_first_token", "timeout_idle", "timeout_total", "deadline", "cancelled", "drained"
]  # fmt: skip
_AFTER_DONE_S = 1.0


class CallStopped(Exception):
    """The call was stopped from here; `reason` says why."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason)
        self.reason = reason


class Watch:
    """One timer for all limits of a call: it moves only when it fires, so a chunk costs no timer.

    `ends_in_s`: seconds from now until the call as a whole ends, for `end_reason`.
    """

    def __init__(
        self, timeouts: Timeouts, ends_in_s: float | None = None, end_reason: StopReason = "timeout_total"
    ) -> None:
        self.reason: StopReason | None = None
        self._timeouts = timeouts
        self._end_reason = end_reason
        self._loop = asyncio.get_running_loop()
        self._ends_at = self._loop.time() + (timeouts.total_s if ends_in_s is None else ends_in_s)
        self._scope: asyncio.Timeout | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._idle_s = timeouts.first_token_s
        self._idle_reason: StopReason = "timeout_first_token"
        self._last = 0.0

    def start(self, scope: asyncio.Timeout) -> None:
        """Begin to measure; `scope` is what a stop ends. Raises CallStopped if stopped before."""
        if self.reason is not None:
            raise CallStopped(self.reason)
        self._scope = scope
        self._last = self._loop.time()
        self._arm()

    def token(self) -> None:
        """Output came: from now on the idle limit holds."""
        self._last = self._loop.time()
        if self._idle_reason == "timeout_first_token":
            self._idle_reason, self._idle_s = "timeout_idle", self._timeouts.idle_s
            self._rearm()

    def answered(self) -> None:
        """The vendor said that the answer is whole: wait but shortly for the connection to end."""
        self._last, self._idle_s = self._loop.time(), _AFTER_DONE_S
        self._rearm()

    def stop(self, reason: StopReason) -> None:
        """End the call now, or before it begins; the first reason stays."""
        if self.reason is not None:
            return
        self.reason = reason
        if self._scope is not None:
            self._scope.reschedule(self._loop.time())

    def close(self) -> None:
        """The call is over: nothing fires any more."""
        self._scope = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._arm()

    def _arm(self) -> None:
        due = min(self._last + self._idle_s, self._ends_at)
        self._timer = self._loop.call_at(due, self._check)

    def _check(self) -> None:
        now = self._loop.time()
        if now >= self._ends_at:
            self.stop(self._end_reason)
        elif now >= self._last + self._idle_s:
            self.stop(self._idle_reason)
        else:
            self._arm()
