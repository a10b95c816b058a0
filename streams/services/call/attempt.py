"""One try of one attempt, step by step. The order of the steps is what makes a crash at any of them harmless:

check · `started` durable · check · call · outcome durable · `done` durable · offset done
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack

from processors.limits.limiter import Limiter
from processors.providers.base import ProviderFailure
from processors.providers.call import Order, call
from processors.providers.content import has_references
from processors.providers.content_hosts import ContentFailure
from processors.providers.pool import Grant, Pool
from processors.providers.watch import CallStopped
from schemas.records import CallTask, ErrorInfo, Outcome
from schemas.signals import Invalid
from streams.crash import crash_point
from streams.services.call import outcomes, retries
from streams.services.call.content_wait import ContentWait
from streams.services.call.deps import CallDeps
from streams.services.call.heartbeat import HeartbeatWatch
from streams.services.call.item import Item, attempt_record
from streams.services.call.journal import RecordTooLarge
from streams.services.call.meters import meters
from streams.services.call.orders import order_of
from streams.services.call.retries import reserved_tokens, used_tokens

_log = logging.getLogger(__name__)


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
        self._content = ContentWait(deps)

    async def run(self, item: Item, grant: Grant) -> None:
        """One try, for which the limiter has given a slot and the pool its leave."""
        used: int | None = 0
        reserved = reserved_tokens(item.task)
        try:
            outcome = await self._with_content(item, grant)
            if outcome is not None and (outcome.error is None or outcome.error.maybe_paid):
                used = used_tokens(outcome.usage, reserved)
        finally:
            now = self._deps.clock.monotonic()
            self._limiter.ended(reserved, used, now)
            if self._pool(item).ended(grant, reserved, used, now):
                self._deps.targets.tell_changed()
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

    async def refuse(self, item: Item, error: ErrorInfo) -> None:
        """End an item without a try: nothing will serve before someone mends it."""
        now = self._deps.clock.now_ms()
        if item.owned.alive:
            outcome = outcomes.refused(item, error.error_class, error.message, now, retriable=error.retriable)
        elif item in self.running:
            outcome = outcomes.returned(item, now)
        else:
            return
        await self.finish(item, outcome)

    def cancel(self, tenant: str, request_id: str) -> None:
        """Drop the running stream of a request; what isn't called yet is met by the check at its boundary."""
        for item in self.running:
            if item.watch is not None and item.task.request_id == request_id and item.task.tenant == tenant:
                item.watch.stop("cancelled")
        self._content.give_up(lambda task: task.request_id == request_id and task.tenant == tenant)

    def drop_all(self) -> None:
        """Drop every running stream: the time to drain is over."""
        for item in self.running:
            if item.watch is not None:
                item.watch.stop("drained")

    async def hand_over(self) -> None:
        """Tell the next owner which calls go on here. Returns once that is durable.

        Content that is still being fetched is given up: it would be for calls that the next owner makes.
        """
        self._content.give_up(lambda _: True)
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

    def _pool(self, item: Item) -> Pool:
        return self._deps.targets.pool(item.config, item.task.model)

    async def _with_content(self, item: Item, grant: Grant) -> Outcome | None:
        """The outcome of the try, for which content by reference is fetched first. See `_try`."""
        if not has_references(item.task):
            return await self._try(item, grant, item.task)
        async with AsyncExitStack() as held:
            try:
                task = await self._content.fetched(item, grant, held)
            except ContentFailure as problem:
                return self._without_content(item, problem)
            return await self._try(item, grant, task)

    def _without_content(self, item: Item, problem: ContentFailure) -> Outcome | None:
        now = self._deps.clock.now_ms()
        if not item.owned.alive:
            return outcomes.returned(item, now) if item in self.running else None
        early = self.early_end(item, now)
        return early or outcomes.refused(
            item, problem.error_class, str(problem), now, retriable=problem.retriable
        )

    async def _try(self, item: Item, grant: Grant, task: CallTask) -> Outcome | None:
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
            order = order_of(item, grant, task, self._deps)
        except Invalid as problem:
            return outcomes.refused(item, problem.reason, problem.message, now)
        lease_until = self._heartbeat().lease_until
        await self._started(item)
        if not await self._still_ours(item, lease_until):
            await self._journal(item, "abandoned")
            self.running.discard(item)  # the offset isn't done: its new owner calls
            return None
        outcome = self.early_end(item, self._deps.clock.now_ms())
        return outcome if outcome is not None else await self._call(item, grant, order)

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

    async def _call(self, item: Item, grant: Grant, order: Order) -> Outcome | None:
        item.started_at = self._deps.clock.now_ms()
        stream = self._deps.deltas.stream(item.task, item.config) if item.task.request.stream_deltas else None
        if stream is not None:
            order.deltas = stream.take
        outcome = await self._called(item, grant, order)
        if stream is not None and outcome is not None:
            await stream.end(outcome)
        return outcome

    async def _called(self, item: Item, grant: Grant, order: Order) -> Outcome | None:
        seen, clock = meters(item.task.model), self._deps.clock
        order.first_token = lambda: self._first_token(item)
        if grant.probes:
            order.accepted = lambda: self._proved(item, grant)
        began = clock.monotonic()
        seen.tries.inc()
        try:
            completion = await call(order)
        except CallStopped as stop:
            return outcomes.stopped(item, stop, order.spent(), clock.now_ms())
        except ProviderFailure as problem:
            return self._failed(item, grant, problem)
        finally:
            item.watch = None
        crash_point("call.after_response")
        now = clock.monotonic()
        seen.duration.observe(now - began)
        self._pool(item).succeeded(grant, now)
        assert order.decoder is not None
        return outcomes.succeeded(item, completion, order.decoder.output_bytes, clock.now_ms())

    def _proved(self, item: Item, grant: Grant) -> None:
        if self._pool(item).accepted(grant):
            self._deps.targets.tell_changed()

    def _failed(self, item: Item, grant: Grant, problem: ProviderFailure) -> Outcome | None:
        """Queue the next try where nothing can have been paid and the deadline allows; else the outcome.

        Another target is tried at once, the same one after a wait.
        """
        now, mono = self._deps.clock.now_ms(), self._deps.clock.monotonic()
        item.last_error = error = problem.error
        pool = self._pool(item)
        bench = pool.failed(grant, error, mono, self._deps.jitter())
        if bench is not None:
            target = grant.target
            meters(item.task.model).benched(target.deployment.id, target.key or "", error.error_class)
            _log.info(
                "%s: benched for %.1f s (%s: %s)",
                target.id, bench.until - mono, error.error_class, error.message,
            )  # fmt: skip
        model = item.config.models[item.task.model]
        wait_ms = max(retries.backoff_ms(item.tries, self._deps.jitter()), error.retry_after_ms or 0)
        item.failed_at |= {grant.target.id}
        if retries.goes_elsewhere(item, pool, error, mono):
            wait_ms = 0
        elif not problem.repeatable or not retries.may_repeat(item, model, now, wait_ms):
            return outcomes.failed(item, problem, now)
        if not item.owned.alive:
            return outcomes.returned(item, now)
        item.ready_at = now + wait_ms if wait_ms else 0
        self._requeue(item)
        return None

    async def _journal(self, item: Item, phase: str) -> None:
        record = attempt_record(item, phase, self._deps.clock.now_ms(), self._deps.worker)
        await self._deps.journal.write(record, item.owned.journal_partition)
