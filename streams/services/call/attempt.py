"""One try of one attempt, step by step. The order of the steps is what makes a crash at any of them harmless:

check · `started` durable · check · call · outcome durable · `done` durable · offset done
"""

import asyncio
from collections.abc import Callable
from typing import Final

from processors.limits.limiter import Limiter
from processors.providers.base import ATTEMPT_HEADER, ProviderFailure
from processors.providers.call import Order, call
from processors.providers.watch import CallStopped, Watch
from schemas.config import Model
from schemas.records import Attempt, CallTask, Outcome, Usage
from schemas.signals import Invalid
from streams.crash import crash_point
from streams.services.call import outcomes
from streams.services.call.deps import CallDeps, NoTarget
from streams.services.call.heartbeat import HeartbeatWatch
from streams.services.call.item import Item
from streams.services.call.journal import RecordTooLarge
from streams.services.call.meters import meters

_BACKOFF_S: Final = (0.25, 20.0)
# 429, 503 and 529: the provider asks its callers to wait. Beside another error, a wait is meant for that call alone.
_HOLD_THE_MODEL: Final = frozenset({"rate_limited", "overloaded"})
# Longer than this a task doesn't wait here: route may have another model for it.
_LONGEST_WAIT_MS: Final = 60_000
# No call uses more of its reservation than so many times it, whatever the vendor says: a debt must have an end.
_MOST_OVERRUN: Final = 10


def reserved_tokens(task: CallTask) -> int:
    """Tokens that a call counts for against the tokens-a-minute limit until its end is known."""
    return task.input_tokens_estimate + task.max_output_tokens


def used_tokens(usage: Usage | None, reserved: int) -> int | None:
    """Tokens that a call counted for in the end, within reason; None where nobody knows."""
    if usage is None or usage.input_uncached is None or usage.output is None:
        return None
    told = usage.input_uncached + (usage.cache_read or 0) + (usage.cache_write or 0) + usage.output
    return min(max(0, told), _MOST_OVERRUN * reserved)


class Attempts:
    """Runs the tries of one model. `requeue` takes an item whose next try waits.

    `running` holds every item whose `started` was sent and whose end isn't durable yet.
    """

    def __init__(
        self,
        deps: CallDeps,
        limiter: Limiter,
        heartbeat: Callable[[], HeartbeatWatch],
        requeue: Callable[[Item], None],
        wake: Callable[[], None],
    ) -> None:
        self._deps, self._limiter, self._heartbeat = deps, limiter, heartbeat
        self._requeue, self._wake = requeue, wake
        self.running: set[Item] = set()

    async def run(self, item: Item) -> None:
        """One try, for which the limiter has given a slot."""
        used: int | None = 0
        reserved = reserved_tokens(item.task)
        try:
            outcome = await self._try(item)
            if outcome is not None and (outcome.error is None or outcome.error.maybe_paid):
                used = used_tokens(outcome.usage, reserved)
        finally:
            self._limiter.ended(reserved, used, self._deps.clock.monotonic())
            self._wake()
        if outcome is not None:
            await self.finish(item, outcome)

    async def finish(self, item: Item, outcome: Outcome) -> None:
        """Make an outcome durable, then its `done`, then count the offset as done.

        What was told without a try is journaled too: the next owner might see it otherwise, and call in vain.
        Only `expired` needs no trace, as it comes out again.
        """
        outcome = await self._tell(item, outcome)
        meters(outcome.model).outcome(outcome.status)
        crash_point("call.after_outcome")
        if item.tries or outcome.status != "expired":
            if not item.tries:
                self._note_journal(item)
            await self._journal(item, "done")
            crash_point("call.after_done")
        self._ended(item)

    def cancel(self, tenant: str, request_id: str) -> None:
        """Drop the running stream of a request; what isn't called yet is met by the check at its boundary."""
        for item in self.running:
            if item.watch is not None and item.task.request_id == request_id and item.task.tenant == tenant:
                item.watch.stop("cancelled")

    def drop_all(self) -> None:
        """Drop every running stream: the time to drain is over."""
        for item in self.running:
            if item.watch is not None:
                item.watch.stop("drained")

    async def hand_over(self) -> None:
        """Tell the next owner which calls go on here. Returns once that is durable."""
        await asyncio.gather(*(self._journal(item, "handed_over") for item in self.running))

    def early_end(self, item: Item, now: int) -> Outcome | None:
        """The check at a boundary, at `now` (ms): a deadline that has passed, a cancel."""
        task = item.task
        if self._deps.control.cancelled(task.tenant, task.request_id):
            return outcomes.never_called(item, "cancelled", now)
        return outcomes.never_called(item, "expired", now) if now >= task.deadline_at else None

    async def _tell(self, item: Item, outcome: Outcome) -> Outcome:
        """Make an outcome durable; returns what was told."""
        journal, partition = self._deps.journal, item.task.route_partition
        try:
            await journal.outcome(outcome, partition, item.size)
        except RecordTooLarge as error:
            outcome = outcomes.shortened(outcome, str(error))
            await journal.outcome(outcome, partition, item.size)
        return outcome

    def _ended(self, item: Item) -> None:
        self.running.discard(item)
        if item.owned.mark is not None:
            item.owned.mark.done(item.offset)

    async def _try(self, item: Item) -> Outcome | None:
        """The outcome of the try; None where the item waits for its next one, or has another owner now."""
        # No await lies between this look and the item's place in `running`: a hand-over finds it there, or it
        # isn't called here.
        now = self._deps.clock.now_ms()
        if not item.owned.alive:
            return outcomes.returned(item, now) if item in self.running else None
        outcome = self.early_end(item, now)
        if outcome is not None:
            return outcome
        try:
            order = self._order(item)
        except Invalid as problem:
            return outcomes.refused(item, problem.reason, problem.message, now)
        except NoTarget as problem:
            return outcomes.refused(item, problem.error_class, str(problem), now, retriable=True)
        lease_until = self._heartbeat().lease_until
        await self._started(item)
        if not await self._still_ours(item, lease_until):
            await self._journal(item, "abandoned")
            self.running.discard(item)  # the offset isn't done: its new owner calls
            return None
        outcome = self.early_end(item, self._deps.clock.now_ms())
        return outcome if outcome is not None else await self._call(item, order)

    def _order(self, item: Item) -> Order:
        task, model = item.task, item.config.models[item.task.model]
        adapter, transport = self._deps.targets.of(item.config, model.provider)
        request = adapter.encode(task, model)
        request.headers[ATTEMPT_HEADER] = f"{task.attempt_id}.{item.tries + 1}"
        now = self._deps.clock.now_ms()
        total_end = now + int(model.timeouts.total_s * 1000)
        item.must_end_by = min(total_end, task.deadline_at)
        item.watch = Watch(
            model.timeouts,
            (item.must_end_by - now) / 1000,
            "deadline" if task.deadline_at <= total_end else "timeout_total",
        )
        return Order(
            task=task,
            request=request,
            adapter=adapter,
            transport=transport,
            watch=item.watch,
            max_result_bytes=item.config.limits.max_result_bytes,
            now_ms=self._deps.clock.now_ms,
            first_token=lambda: self._first_token(item),
        )

    def _first_token(self, item: Item) -> None:
        item.first_token_at = self._deps.clock.now_ms()
        assert item.started_at is not None
        waited_s = (item.first_token_at - item.started_at) / 1000
        meters(item.task.model).first_token.observe(waited_s)
        crash_point("call.mid_stream")

    async def _started(self, item: Item) -> None:
        crash_point("call.before_started")
        item.tries += 1
        self._note_journal(item)
        self.running.add(item)
        await self._journal(item, "started")
        crash_point("call.after_started")

    def _note_journal(self, item: Item) -> None:
        """From here on the journal may say something of the item: a replay for it starts here at the latest."""
        owned = item.owned
        if owned.mark is not None:
            owned.mark.journaled(item.offset, self._deps.journal.end(owned.journal_partition))

    async def _still_ours(self, item: Item, lease_until: float) -> bool:
        """Look again after the wait for the journal: who stood still may have lost the partitions."""
        while self._deps.clock.monotonic() >= lease_until:
            if not item.owned.alive:
                return False
            if self._heartbeat().fresh:
                return True
            await asyncio.sleep(0.05)
        return True

    async def _call(self, item: Item, order: Order) -> Outcome | None:
        seen, clock = meters(item.task.model), self._deps.clock
        item.started_at, began = clock.now_ms(), clock.monotonic()
        seen.tries.inc()
        try:
            completion = await call(order)
        except CallStopped as stop:
            return outcomes.stopped(item, stop, order.spent(), clock.now_ms())
        except ProviderFailure as problem:
            return self._failed(item, problem)
        finally:
            item.watch = None
        crash_point("call.after_response")
        seen.duration.observe(clock.monotonic() - began)
        assert order.decoder is not None
        return outcomes.succeeded(item, completion, order.decoder.output_bytes, clock.now_ms())

    def _failed(self, item: Item, problem: ProviderFailure) -> Outcome | None:
        """Queue the next try where nothing can have been paid and the deadline allows; else the outcome."""
        now = self._deps.clock.now_ms()
        item.last_error = problem.error
        model = item.config.models[item.task.model]
        asked = problem.error.retry_after_ms
        if asked is not None and problem.error.error_class in _HOLD_THE_MODEL:
            self._limiter.hold(self._deps.clock.monotonic() + min(asked, _LONGEST_WAIT_MS) / 1000)
        wait_ms = max(self._backoff_ms(item.tries), asked or 0)
        if not problem.repeatable or not self._may_repeat(item, model, now, wait_ms):
            return outcomes.failed(item, problem, now)
        if not item.owned.alive:
            return outcomes.returned(item, now)
        item.ready_at = now + wait_ms
        self._requeue(item)
        return None

    def _may_repeat(self, item: Item, model: Model, now: int, wait_ms: int) -> bool:
        in_time = wait_ms <= _LONGEST_WAIT_MS and now + wait_ms < item.task.deadline_at
        return in_time and item.tries <= model.call_retries

    def _backoff_ms(self, tries: int) -> int:
        """Full jitter over a doubling bound."""
        first, longest = _BACKOFF_S
        return int(self._deps.jitter() * min(longest, first * 2**tries) * 1000)

    async def _journal(self, item: Item, phase: str) -> None:
        owned, task = item.owned, item.task
        record = Attempt(
            phase=phase,
            attempt_id=task.attempt_id,
            request_id=task.request_id,
            tenant=task.tenant,
            attempt=task.attempt,
            try_=item.tries,
            model=task.model,
            call_topic=owned.tp.topic,
            call_partition=owned.tp.partition,
            call_offset=item.offset,
            at=self._deps.clock.now_ms(),
            must_end_by=item.must_end_by,
            worker=self._deps.worker,
            deployment=item.deployment,
        )
        await self._deps.journal.write(record, owned.journal_partition)
