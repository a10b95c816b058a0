"""From a record of a call topic to what is done with it: the decision of takeover.py, carried out."""

from collections.abc import Callable, Coroutine
from typing import Any, assert_never

from aiokafka import ConsumerRecord

from schemas.config import Config
from schemas.records import CallTask
from schemas.registry import UnknownSchemaId
from schemas.signals import Invalid
from streams.dead_letters import dead_letter
from streams.outbox.reading import inbound_of
from streams.services.call import outcomes
from streams.services.call.attempt import Attempts
from streams.services.call.deps import CallDeps
from streams.services.call.item import Item, Owned
from streams.services.call.scheduler import Scheduler
from streams.services.call.takeover import Call, Decision, Skip, Unknown, Wait, decide


class Intake:
    """Takes records of open partitions. `spawn` runs a coroutine beside; its failure ends the worker."""

    def __init__(
        self,
        deps: CallDeps,
        scheduler: Scheduler,
        attempts: Attempts,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._deps, self._scheduler, self._attempts, self._spawn = deps, scheduler, attempts, spawn

    async def take(self, owned: Owned, record: "ConsumerRecord[bytes, bytes]") -> None:
        """Queue the record's task, or see why it needn't be called."""
        assert owned.mark is not None, "records are taken from open partitions only"
        offset = record.offset
        owned.mark.add(offset)
        try:
            task = await self._task(record)
        except Invalid as problem:
            self._spawn(self._dead_letter(owned, record, problem))
            return
        evidence = owned.evidence.get(offset)
        if evidence is not None and evidence.attempt_id != task.attempt_id:
            owned.evidence.pop(offset)
            evidence = None
        if evidence is not None and evidence.done:
            owned.evidence.pop(offset)
            owned.mark.done(offset)
            return
        config = await self._config(task.config_version)
        if not owned.alive:
            return
        item = Item(owned, offset, owned.lane, len(record.value or b""), task, config)
        item.tries = evidence.tries if evidence is not None else 0
        decision = decide(evidence, self._deps.clock.now_ms())
        if isinstance(decision, Wait):
            owned.waiting[offset] = item
        else:
            owned.evidence.pop(offset, None)
            self.settle(item, decision)

    def settle(self, item: Item, decision: Decision) -> None:
        """Carry out what the journal says of an item."""
        match decision:
            case Call():
                self._queue(item)
            case Skip():
                assert item.owned.mark is not None
                item.owned.mark.done(item.offset)
            case Unknown():
                self._unknown(item)
            case Wait():
                raise AssertionError("an item that waits isn't settled")
            case _:
                assert_never(decision)

    def _unknown(self, item: Item) -> None:
        """Tell route that nobody knows how the call ended."""
        message = "the worker that called ended without telling how the call ended"
        outcome = outcomes.unknown(item, message, self._deps.clock.now_ms())
        self._spawn(self._attempts.finish(item, outcome))

    def _queue(self, item: Item) -> None:
        if item.task.model not in item.config.models:
            message = f"configuration {item.task.config_version} has no model {item.task.model!r}"
            now = self._deps.clock.now_ms()
            outcome = outcomes.refused(item, "no_such_model", message, now, retriable=True)
            self._spawn(self._attempts.finish(item, outcome))
            return
        item.ready_at = item.task.not_before or 0
        self._scheduler.push(item)

    async def _task(self, record: "ConsumerRecord[bytes, bytes]") -> CallTask:
        try:
            return self._deps.codec.decode(record.value, CallTask)
        except UnknownSchemaId:
            return await self._deps.codec.decode_async(record.value, CallTask)

    async def _config(self, version: str) -> Config:
        """The configuration a task obeys; where nobody has it, the active one emptied of models."""
        try:
            return self._deps.configs.get(version)
        except KeyError:
            pass
        try:
            return await self._deps.configs.fetch(version)
        except KeyError:
            return self._deps.configs.active()[1].model_copy(update={"models": {}})

    async def _dead_letter(
        self, owned: Owned, record: "ConsumerRecord[bytes, bytes]", problem: Invalid
    ) -> None:
        letter = dead_letter(
            inbound_of(record),
            stage="call",
            reason=problem.reason,
            message=problem.message,
            at=self._deps.clock.now_ms(),
            retention_days=self._deps.configs.active()[1].retention.of_dead_letters(()),
        )
        await self._deps.journal.dead_letter(letter)
        assert owned.mark is not None
        owned.mark.done(record.offset)
