"""A `ModelRunner` and its service over a fake consumer and a fake journal: no broker, no provider."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from processors.clock import SystemClock
from processors.limits.backend import MemoryBackend
from processors.providers.authorisers import Resolver
from schemas.codec import Codec
from schemas.config import Config
from schemas.records import Attempt, CallTask, DeadLetter, Outcome
from schemas.registry import SchemaStore
from streams.services.call import runner as runner_module
from streams.services.call.control import ControlState
from streams.services.call.deps import CallDeps
from streams.services.call.item import Item, Owned
from streams.services.call.runner import ModelRunner
from streams.services.call.targets import Targets
from streams.services.call.watermark import Watermark
from streams.settings import Settings
from tests.fakes.call_bench import CONFIG, call_task

TP = TopicPartition("llm.calls.m.standard", 0)
codec = Codec(SchemaStore())


class FakeConsumer:
    """What a runner asks of its consumer; `batches` are handed out one a fetch."""

    def __init__(self, **options: Any) -> None:
        self.steps: list[str] = []
        self.batches: list[dict[TopicPartition, list[Any]]] = []
        self.ends: dict[TopicPartition, int] = {}
        self.positions: dict[TopicPartition, int] = {}

        async def heartbeat() -> bool:
            return True

        async def fetch(assignment: Any, node_id: int, request: Any) -> bool:
            return False

        self._coordinator = SimpleNamespace(_do_heartbeat=heartbeat)
        self._fetcher = SimpleNamespace(_proc_fetch_request=fetch)

    async def start(self) -> None:
        self.steps.append("start")

    def subscribe(self, topics: list[str], listener: Any) -> None:
        self.steps.append("subscribe")

    async def stop(self) -> None:
        self.steps.append("stop")

    async def commit(self, offsets: Any) -> None:
        self.steps.append("commit")

    async def getmany(self, *tps: TopicPartition, **options: Any) -> dict[TopicPartition, list[Any]]:
        if not self.batches:
            await asyncio.sleep(0.01)
            return {}
        return self.batches.pop(0)

    async def end_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.ends[tp] for tp in tps}

    async def position(self, tp: TopicPartition) -> int:
        return self.positions[tp]


class FakeJournal:
    """Keeps what it is given. `gate`, where closed, holds every write back."""

    partitions = 1

    def __init__(self) -> None:
        self.full = False
        self.records: list[Attempt] = []
        self.outcomes: list[Outcome] = []
        self.letters: list[DeadLetter] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def end(self, partition: int) -> int:
        return len(self.records)

    async def write(self, record: Attempt, partition: int) -> None:
        self.records.append(record)
        await self.gate.wait()

    async def outcome(self, outcome: Outcome, partition: int, kept_bytes: int) -> None:
        await self.gate.wait()
        self.outcomes.append(outcome)

    async def dead_letter(self, letter: DeadLetter) -> None:
        self.letters.append(letter)

    @property
    def phases(self) -> list[str]:
        return [record.phase for record in self.records]


class Configs:
    """One configuration, always active."""

    def __init__(self, config: Config = CONFIG) -> None:
        self.config = config

    def active(self) -> tuple[str, Config]:
        return "v", self.config

    def get(self, version: str) -> Config:
        return self.config

    async def fetch(self, version: str) -> Config:
        return self.config

    def add_listener(self, listener: Any) -> None:
        """It never changes."""


def targets() -> Targets:
    """Real pools, whose connections can't send."""
    sessions: Any = SimpleNamespace(of=lambda headers: None)
    return Targets(sessions, MemoryBackend(), Resolver(lambda reference: "secret-1", lambda reference: "{}"))


class RunnerBench:
    """A runner of the model `m` whose group never meets a broker; it owns one partition of lane `standard`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(runner_module, "AIOKafkaConsumer", FakeConsumer)
        self.journal, self.fatal = FakeJournal(), list[BaseException]()
        deps = CallDeps(
            Settings(session_timeout_ms=6000), SystemClock(), codec, Configs(), self.journal,  # type: ignore[arg-type]
            ControlState(), targets(), SimpleNamespace(), SimpleNamespace(), "w", self.fatal.append,  # type: ignore[arg-type]
        )  # fmt: skip
        self.deps = deps
        self.runner = ModelRunner("m", CONFIG.models["m"], deps)
        self.consumer: FakeConsumer = self.runner._consumer
        self.owned = Owned(TP, "standard", 0, mark=Watermark(0))
        self.runner._owned = {TP: self.owned}

    def item(self, offset: int = 0, **more: Any) -> Item:
        """An item that was delivered to the partition that the runner owns."""
        assert self.owned.mark is not None
        self.owned.mark.add(offset)
        return Item(self.owned, offset, "standard", 10, call_task(**more), CONFIG)

    def queue(self, item: Item) -> None:
        """Put an item into the runner's queue."""
        self.runner._scheduler.push(item)

    def note_starts(self) -> list[int]:
        """From now on no call is made; returns the growing list of the offsets that were to start."""
        begun: list[int] = []
        self.runner._dispatcher._start = lambda item, grant: begun.append(item.offset)
        return begun

    async def settle(self) -> None:
        """Let everything run that can."""
        for _ in range(20):
            await asyncio.sleep(0)


def record(value: bytes | None, offset: int, tp: TopicPartition = TP) -> "ConsumerRecord[bytes, bytes]":
    """A record as aiokafka delivers it."""
    return ConsumerRecord(tp.topic, tp.partition, offset, 0, 0, b"k", value, None, 1, len(value or b""), ())


def encoded(task: CallTask) -> bytes:
    return codec.encode(task)
