"""The relay when partitions are taken away, above all while something else is under way."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, ProducerFenced

from schemas import names
from schemas.codec import Codec
from schemas.registry import SchemaStore
from streams.services import relay, relay_watch
from streams.services.relay_contract import Copy
from tests.fakes.relay import SETTINGS, Record


class Silent:
    """Observes nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: None


class FakePartition:
    """An open partition that notes what is done with it."""

    committed, opened_before, begun = 3, False, False

    def __init__(self, tp: TopicPartition, log: list[str]) -> None:
        self.source, self.log = tp, log
        self.fails_to: dict[str, Exception] = {}
        self.opens = asyncio.Event()
        self.opens.set()

    async def _do(self, what: str) -> None:
        self.log.append(f"{what} {self.source.partition}")
        if what in self.fails_to:
            raise self.fails_to[what]

    async def open(self) -> None:
        await self._do("open")
        await self.opens.wait()

    async def begin(self, offset: int) -> None:
        self.begun = True

    @property
    def passed(self) -> int:
        assert self.begun
        return 3

    async def settle(self, at_once: bool = False) -> None:
        await self._do("settle")

    async def write(self, copies: Sequence[Copy], offset: int) -> Sequence[Copy]:
        await self._do("write")
        return copies

    async def close(self) -> None:
        await self._do("close")


class FakeConsumer:
    """A consumer to which the test assigns partitions."""

    def __init__(self) -> None:
        self.stopped = False
        self.seeks: list[tuple[int, int]] = []
        self.records: dict[TopicPartition, list[Any]] = {}

    async def start(self) -> None: ...

    def subscribe(self, topics: list[str], listener: Any) -> None: ...

    async def stop(self) -> None:
        self.stopped = True

    def assignment(self) -> set[TopicPartition]:
        return set()

    async def committed(self, tp: TopicPartition) -> int:
        return 3

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 0)

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 9)

    async def position(self, tp: TopicPartition) -> int:
        return 3

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.seeks.append((tp.partition, offset))

    async def getmany(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        await asyncio.sleep(0.01)
        return self.records


class Rig:
    """A relay whose partitions and consumer are fakes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, codec: Any = None) -> None:
        self.log: list[str] = []
        self.consumer = FakeConsumer()
        self.partitions = {n: FakePartition(TopicPartition(names.RESULTS, n), self.log) for n in range(3)}
        monkeypatch.setattr(relay_watch, "_EVERY_S", 0.001)
        monkeypatch.setattr(relay, "Partition", lambda settings, tp, *more: self.partitions[tp.partition])
        monkeypatch.setattr(relay, "AIOKafkaConsumer", lambda **options: self.consumer)
        self.relay = relay.Relay(SETTINGS, codec or Codec(SchemaStore()), Silent(), lambda: 7)
        self.stop = asyncio.Event()
        self.running = asyncio.create_task(self.relay.run(self.stop))

    def tps(self, *numbers: int) -> list[TopicPartition]:
        return [TopicPartition(names.RESULTS, n) for n in numbers]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.005)


async def test_a_partition_that_fails_when_it_is_taken_away_keeps_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(monkeypatch)
    rig.relay.assigned(rig.tps(0, 1, 2))
    await rig.until(rig.relay.ready)
    rig.partitions[0].fails_to = {"settle": ProducerFenced(), "close": KafkaConnectionError()}
    await rig.relay.revoked(rig.tps(0, 1, 2))
    assert {f"{what} {n}" for what in ("settle", "close") for n in range(3)} <= set(rig.log)
    with pytest.raises(ProducerFenced):  # the first of them
        await asyncio.wait_for(rig.running, 5)
    assert rig.consumer.stopped


async def test_a_fenced_worker_ends_though_aiokafka_swallows_what_its_listener_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(monkeypatch)
    rig.relay.assigned(rig.tps(0))
    await rig.until(rig.relay.ready)
    rig.partitions[0].fails_to = {"settle": ProducerFenced()}
    await rig.relay.revoked(rig.tps(0))
    with pytest.raises(ProducerFenced):
        await asyncio.wait_for(rig.running, 5)


async def test_a_partition_taken_away_while_another_opens_is_not_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Opening it would fence its rightful owner."""
    rig = Rig(monkeypatch)
    for partition in rig.partitions.values():
        partition.opens.clear()
    rig.relay.assigned(rig.tps(0, 1, 2))
    await rig.until(lambda: bool(rig.log))
    revoking = asyncio.create_task(rig.relay.revoked(rig.tps(0, 1, 2)))
    await asyncio.sleep(0.01)
    for partition in rig.partitions.values():
        partition.opens.set()
    await asyncio.wait_for(revoking, 5)
    opened = [entry for entry in rig.log if entry.startswith("open")]
    assert len(opened) == 1
    assert opened[0].replace("open", "close") in rig.log
    rig.stop.set()
    await asyncio.wait_for(rig.running, 5)
    assert [entry for entry in rig.log if entry.startswith("open")] == opened


async def test_a_rebalance_that_waited_for_a_failure_commits_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    rig.relay.assigned(rig.tps(0, 1))
    await rig.until(rig.relay.ready)
    revoking: list[asyncio.Task[None]] = []

    async def fails(copies: Sequence[Copy], offset: int) -> Sequence[Copy]:
        revoking.append(asyncio.create_task(rig.relay.revoked(rig.tps(0, 1))))
        await asyncio.sleep(0.02)  # the rebalance waits for the turn now
        raise KafkaConnectionError()

    async def is_slower(copies: Sequence[Copy], offset: int) -> Sequence[Copy]:
        await asyncio.sleep(0.05)
        rig.log.append("written 1")
        return copies

    rig.log.clear()
    rig.partitions[0].write, rig.partitions[1].write = fails, is_slower  # type: ignore[method-assign]
    with pytest.raises(KafkaConnectionError):
        await asyncio.wait_for(rig.running, 5)
    await asyncio.wait_for(revoking[0], 5)
    assert rig.log.index("written 1") < rig.log.index("close 1"), "the turn ends with all of its writers"
    assert not [entry for entry in rig.log if entry.startswith("settle")]
    assert "close 0" in rig.log


async def test_what_was_read_and_not_written_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by a partition that stays when another one is taken away."""

    class Waits(Codec):
        asked = asyncio.Event()

        async def decode_async(self, data: Any, expected: Any) -> Any:
            self.asked.set()
            await asyncio.Event().wait()

    codec = Waits(SchemaStore())
    rig = Rig(monkeypatch, codec)
    rig.consumer.records = {tp: [Record(codec, "replies")] for tp in rig.tps(0)}
    rig.relay.assigned(rig.tps(0, 1))
    await asyncio.wait_for(codec.asked.wait(), 5)
    rig.consumer.seeks.clear()
    await rig.relay.revoked(rig.tps(1))
    await rig.until(lambda: rig.consumer.seeks == [(0, 3)])
    assert "write 0" not in rig.log
    rig.stop.set()
    await asyncio.wait_for(rig.running, 5)
