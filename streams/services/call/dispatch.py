"""Starting calls: whenever something changes, as many as may start now; then the time of the next look."""

import asyncio
from collections.abc import Callable
from typing import Final

from processors.limits.limiter import Limiter
from processors.providers.pool import Grant, Later, Refused
from schemas.records import ErrorInfo
from streams.services.call.deps import CallDeps
from streams.services.call.heartbeat import HeartbeatWatch
from streams.services.call.item import Item
from streams.services.call.meters import meters
from streams.services.call.retries import reserved_tokens
from streams.services.call.scheduler import Scheduler

_STARTS_AT_ONCE: Final = 100
# What nobody wakes us for, a heartbeat or durable outcomes, is looked at again after this.
_AGAIN_S: Final = 0.1
# A bench may end earlier than it was told.
_ASIDE_S: Final = 5.0


class Dispatcher:
    """`wake` may be called at any time and as often as wanted: looks are gathered into one turn of the loop."""

    def __init__(
        self,
        model_id: str,
        deps: CallDeps,
        scheduler: Scheduler,
        limiter: Limiter,
        heartbeat: Callable[[], HeartbeatWatch],
        start: Callable[[Item, Grant], None],
        refuse: Callable[[Item, ErrorInfo], None],
    ) -> None:
        self._model_id, self._deps, self._start, self._refuse = model_id, deps, start, refuse
        self._scheduler, self._limiter, self._heartbeat = scheduler, limiter, heartbeat
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.Handle | None = None
        self._soon = self._stopped = False

    def wake(self) -> None:
        """Look again whether calls may start."""
        if not self._soon and not self._stopped:
            self._soon = True
            self._set(self._loop.call_soon(self._look))

    def stop(self) -> None:
        """Start nothing more."""
        self._stopped = True
        self._set(None)

    def _set(self, handle: asyncio.Handle | None) -> None:
        if self._next is not None:
            self._next.cancel()
        self._next = handle

    def _look(self) -> None:
        self._soon = False
        try:
            delay = self._start_ready()
        except BaseException as error:
            self._deps.fatal(error)
            raise
        if delay == 0:
            self.wake()
        elif delay is not None:
            self._set(self._loop.call_later(delay, self.wake))

    def _start_ready(self) -> float | None:
        """Start what may start now. Seconds until more may; None: something must happen first."""
        clock = self._deps.clock
        for _ in range(_STARTS_AT_ONCE):
            now_ms = clock.now_ms()
            if self._deps.control.model_paused(self._model_id):
                return None
            item = self._scheduler.peek(now_ms)
            if item is None:
                ready = self._scheduler.next_ready()
                return None if ready is None else max(0.001, (ready - now_ms) / 1000)
            if not self._heartbeat().fresh:
                meters(self._model_id).stale.inc()
                return _AGAIN_S
            if self._deps.journal.full:
                return _AGAIN_S
            tokens, now = reserved_tokens(item.task), clock.monotonic()
            pool = self._deps.targets.pool(item.config, self._model_id)
            place = pool.look(tokens, now, item.failed_at)
            if isinstance(place, Later):
                if item.task.config_version == self._deps.configs.active()[0]:
                    return place.seconds
                self._put_aside(item, place, now_ms)
                continue
            if isinstance(place, Refused):
                self._scheduler.pop(now_ms)
                self._refuse(item, place.error)
                continue
            wait = self._limiter.try_start(tokens, now)
            if wait != 0:
                return wait
            grant = pool.take(place, tokens, now)
            self._scheduler.pop(now_ms)
            self._start(item, grant)
        return 0

    def _put_aside(self, item: Item, place: Later, now_ms: int) -> None:
        """A task of an old configuration waits for its deployments beside the queue: they may be gone from the new one,
        whose tasks must not wait behind it."""
        self._scheduler.pop(now_ms)
        wait_s = _ASIDE_S if place.seconds is None else min(place.seconds, _ASIDE_S)
        item.ready_at = now_ms + max(1, int(wait_s * 1000))
        self._scheduler.push(item)
