"""The route processor as the outbox drives it: decode before, encode after, and dead-letter what is no event."""

from collections.abc import Sequence
from typing import cast

from aiokafka.errors import KafkaError

from processors.clock import Clock
from processors.route.emit import Emit
from processors.route.machine import RouteMachine
from processors.route.seams import Seams
from schemas.codec import Codec
from schemas.names import DEAD_LETTERS
from schemas.records import CallTask, ClassifiedRequest, Control, DeadLetter, Outcome
from schemas.signals import Invalid
from streams import metrics
from streams.classifier import source_of
from streams.config_watch import ConfigWatcher, Unreadable
from streams.dead_letters import dead_letter
from streams.outbox.contract import Inbound, Outbound, Transient

Record = ClassifiedRequest | Outcome | Control
_EXPECTED = (ClassifiedRequest, Outcome, Control)


class RouteBinding:
    """A `Machine` of the outbox around one partition's `RouteMachine`."""

    def __init__(
        self, partition: int, codec: Codec, configs: ConfigWatcher, clock: Clock, seams: Seams
    ) -> None:
        self.partition = partition
        self.machine = RouteMachine(partition, clock, configs, seams)
        self._codec, self._configs, self._clock = codec, configs, clock
        self._decoded: dict[int, Record | Invalid] = {}
        self.load, self.flush = self.machine.load, self.machine.flush
        self.loaded, self.next_due = self.machine.loaded, self.machine.next_due

    async def prepare(self, batch: Sequence[Inbound]) -> None:
        """Decode the batch and read the configurations that its records were decided under."""
        self._decoded = {}
        for inbound in batch:
            record = await self._decode(inbound)
            self._decoded[inbound.offset] = record
            version = _config_version(record)
            if version is not None:
                await self._known(version, inbound.offset)

    async def _known(self, version: str, offset: int) -> None:
        try:
            await self._configs.fetch(version)
        except (Unreadable, KafkaError) as error:
            raise Transient(str(error)) from error  # waits for Kafka, or for a worker of the newer version
        except KeyError:
            self._decoded[offset] = Invalid(
                "unknown_config",
                f"configuration {version} isn't on llm.config: publish it again, then redrive",
            )

    async def _decode(self, inbound: Inbound) -> Record | Invalid:
        try:
            return cast(Record, await self._codec.decode_async(inbound.value, _EXPECTED))
        except Invalid as error:
            return error

    def handle(self, inbound: Inbound) -> list[Outbound]:
        """Decide about one record."""
        record = self._decoded[inbound.offset]
        try:
            if isinstance(record, Invalid):
                raise record
            return [self._encode(emit) for emit in self.machine.handle(record, source_of(inbound))]
        except Invalid as error:
            return [self._letter(inbound, error.reason, error.message)]

    def tick(self, now: int) -> list[Outbound]:
        """Fire due timers."""
        return [self._encode(emit) for emit in self.machine.tick(now)]

    def poison(self, inbound: Inbound, error: Exception) -> list[Outbound]:
        """A dead letter, and the terminal result of the request that the record was about."""
        record = self._decoded.get(inbound.offset)
        known = None if isinstance(record, Invalid) else record
        emits = self.machine.poison(known, source_of(inbound), repr(error))
        message = f"processing it failed each time ({error!r}); {_after_poison(record)}"
        metrics.ROUTE_POISONED.inc()
        return [*(self._encode(emit) for emit in emits), self._letter(inbound, "poison", message)]

    def _letter(self, inbound: Inbound, reason: str, message: str) -> Outbound:
        record = self._decoded.get(inbound.offset)
        tenant, request_id = _about(record)
        retention = self._configs.active()[1].retention
        letter = dead_letter(
            inbound, stage="route", reason=reason, message=message, at=self._clock.now_ms(),
            claimed_tenant=tenant, request_id=request_id,
            retention_days=retention.of_dead_letters(_classes(record)),
        )  # fmt: skip
        return self._encode(Emit(DEAD_LETTERS, letter, letter.id.encode()))

    def _encode(self, emit: Emit) -> Outbound:
        if isinstance(emit.record, DeadLetter):
            metrics.ROUTE_DEAD_LETTERS.labels(emit.record.reason).inc()
        partition = emit.partition
        if partition is None and not isinstance(emit.record, CallTask):
            partition = self.partition
        return Outbound(
            emit.topic, emit.key, self._codec.encode(emit.record, emit.topic), emit.headers, partition
        )


def _config_version(record: Record | Invalid) -> str | None:
    match record:
        case ClassifiedRequest() | Outcome():
            return record.config_version
        case Control(task=CallTask() as task):
            return task.config_version
        case _:
            return None


def _about(record: Record | Invalid | None) -> tuple[str | None, str | None]:
    match record:
        case ClassifiedRequest():
            return record.request.tenant, record.request.id
        case Outcome() | Control():
            return record.tenant, record.request_id
        case _:
            return None, None


def _classes(record: Record | Invalid | None) -> Sequence[str]:
    """The classes of data in the request that a record carries."""
    match record:
        case ClassifiedRequest():
            return record.request.data_classes
        case Outcome(task=CallTask() as task) | Control(task=CallTask() as task):
            return task.request.data_classes
        case _:
            return ()


def _after_poison(record: Record | Invalid | None) -> str:
    """What became of the record's request, and what an operator can do."""
    match record:
        case ClassifiedRequest():
            return "its request ended as failed: once the cause is mended, submit it anew under another id"
        case Outcome():
            return (
                "its request got an end; redrive it once the cause is mended, so that what it used is known"
            )
        case _:
            return "redrive it once the cause is mended"
