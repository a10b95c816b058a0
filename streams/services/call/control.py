"""Commands that every call worker reads: pauses of models and tenants, cancels."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.codec import Codec
from schemas.names import CONTROL
from schemas.records import Control
from schemas.signals import Invalid
from streams import metrics

_CANCELS_KEPT = 65_536
_log = logging.getLogger(__name__)


class ControlState:
    """What the commands so far add up to. `changed` is called after each, `cancel` with tenant and request.

    `model_id` gives the id that a model's alias stands for now, and other names as they are. Names are kept as
    they were given, for an alias may move between a pause and its resume.
    """

    def __init__(self, model_id: Callable[[str], str] = lambda name: name) -> None:
        self._model_id = model_id
        self._paused_models: set[str] = set()
        self.paused_tenants: set[str] = set()
        self.changed: list[Callable[[], None]] = []
        self.cancel: list[Callable[[str, str], None]] = []
        self._cancelled: OrderedDict[tuple[str, str], None] = OrderedDict()

    def model_paused(self, model_id: str) -> bool:
        """True where the model was paused by its id or a name that stands for it now."""
        return any(self._model_id(name) == model_id for name in self._paused_models)

    def cancelled(self, tenant: str, request_id: str) -> bool:
        """True where a cancel of the request was seen."""
        return (tenant, request_id) in self._cancelled

    def apply(self, key: bytes | None, command: Control | None) -> None:
        """Take one record of llm.control; a removed pause is a resume."""
        kind, _, rest = (key or b"").decode(errors="replace").partition(":")
        if kind == "pause":
            scope, _, name = rest.partition(":")
            self._pause(scope == "model", name, command is not None and command.command == "pause")
        elif command is not None and command.command == "cancel" and command.tenant and command.request_id:
            self._cancel(command.tenant, command.request_id)
        for listener in self.changed:
            listener()

    def _pause(self, of_model: bool, name: str, pause: bool) -> None:
        """Pause or resume. A resume lifts the pauses of the model under any of its names."""
        paused = self._paused_models if of_model else self.paused_tenants
        if pause:
            paused.add(name)
            return
        paused.discard(name)
        if of_model:
            model_id = self._model_id(name)
            paused -= {other for other in paused if self._model_id(other) == model_id}

    def _cancel(self, tenant: str, request_id: str) -> None:
        self._cancelled[tenant, request_id] = None
        if len(self._cancelled) > _CANCELS_KEPT:
            self._cancelled.popitem(last=False)
        for listener in self.cancel:
            listener(tenant, request_id)


class ControlReader:
    """Reads llm.control from its beginning, and on."""

    def __init__(self, brokers: str, codec: Codec, state: ControlState) -> None:
        self._codec, self._state = codec, state
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=brokers, isolation_level="read_committed", enable_auto_commit=False
        )

    async def start(self) -> None:
        """Return once everything that was there at the start has been applied.

        Raises LookupError where the topic isn't provisioned.
        """
        await self._consumer.start()
        cluster = await self._consumer._client.fetch_all_metadata()
        partitions = cluster.partitions_for_topic(CONTROL)
        if not partitions:
            raise LookupError(f"topic {CONTROL} doesn't exist: run `sluice topics apply`")
        tps = [TopicPartition(CONTROL, partition) for partition in sorted(partitions)]
        self._consumer.assign(tps)
        await self._consumer.seek_to_beginning(*tps)
        ends = await self._consumer.end_offsets(tps)
        for tp in tps:
            while await self._consumer.position(tp) < ends[tp]:
                await self._read(200)

    async def run(self) -> None:
        """Apply commands for ever."""
        while True:
            await self._read(1000)

    async def stop(self) -> None:
        """Close the connection."""
        await self._consumer.stop()

    async def _read(self, timeout_ms: int) -> None:
        for batch in (await self._consumer.getmany(timeout_ms=timeout_ms)).values():
            for message in batch:
                try:
                    command = message.value and await self._codec.decode_async(message.value, Control)
                except Invalid as problem:
                    metrics.CALL_FOREIGN_COMMANDS.inc()
                    _log.error("%s offset %d: %s", CONTROL, message.offset, problem)
                    continue
                self._state.apply(message.key, command or None)
        await asyncio.sleep(0)
