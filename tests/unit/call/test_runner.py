"""A model's runner when its partitions are given, taken away and left."""

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition

from schemas.names import calls_topic
from streams.services.call.item import Item, Owned
from streams.services.call.watermark import Watermark
from tests.fakes.call_bench import call_task
from tests.fakes.call_runner import TP, RunnerBench, encoded, record


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> RunnerBench:
    return RunnerBench(monkeypatch)


async def started(bench: RunnerBench) -> None:
    await bench.runner.start()
    for loop in bench.runner._loops[1:]:
        loop.cancel()


async def test_nothing_starts_after_the_hand_over_was_told(bench: RunnerBench) -> None:
    """The hand-over waits for the journal; what still lay in the queue then would be called here and there."""
    running, queued = bench.item(0), bench.item(1)
    running.tries = 1
    bench.runner.attempts.running.add(running)
    bench.queue(queued)
    bench.journal.gate.clear()
    letting = asyncio.create_task(bench.runner.let_go())
    await bench.settle()
    assert bench.journal.phases == ["handed_over"] and not letting.done()
    assert len(bench.runner._scheduler) == 0, "no item may start while the hand-over is being written"
    bench.journal.gate.set()
    await letting
    assert bench.owned.alive is False and bench.journal.outcomes == [] and bench.consumer.steps == ["commit"]


async def test_only_what_was_begun_here_is_returned(bench: RunnerBench) -> None:
    """Tries of an earlier owner, which abandoned them, stay in the journal for the next one."""
    ours, theirs = bench.item(0), bench.item(1)
    ours.tries = theirs.tries = 1
    bench.runner.attempts.running.add(ours)
    for item in (ours, theirs):
        bench.queue(item)
    await bench.runner.let_go()
    await bench.settle()
    assert [outcome.status for outcome in bench.journal.outcomes] == ["returned"]
    assert {each.call_offset for each in bench.journal.records} == {0}
    assert bench.owned.mark is not None and bench.owned.mark.mark == 1


async def test_partitions_given_while_leaving_are_not_taken(bench: RunnerBench) -> None:
    """SIGTERM in the middle of a rebalance: they go to the next owner once this member has left."""
    await started(bench)
    bench.journal.gate.clear()
    bench.runner.attempts.running.add(item := bench.item(0))
    leaving = asyncio.create_task(bench.runner.leave())
    await bench.settle()
    await bench.runner.on_partitions_assigned({TP})
    assert bench.runner._owned == {TP: bench.owned} and not bench.owned.alive
    bench.runner.attempts.running.discard(item)
    bench.journal.gate.set()
    await leaving
    assert bench.consumer.steps[-1] == "stop" and bench.runner._owned == {} and bench.fatal == []


async def test_partitions_given_in_order_are_taken(
    bench: RunnerBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await started(bench)
    opened: list[Owned] = []

    async def opening(owned: list[Owned]) -> None:
        opened.extend(owned)

    monkeypatch.setattr(bench.runner, "_open", opening)
    await bench.runner.on_partitions_assigned({TP})
    await bench.settle()
    assert opened == list(bench.runner._owned.values()) and opened != [bench.owned]
    bench.runner._loops[0].cancel()


class Intake:
    """Notes what is taken; each taking waits for `gate`, and `then` runs at the first."""

    def __init__(self) -> None:
        self.taken: list[tuple[Owned, int]] = []
        self.then: Any = lambda: None

    async def take(self, owned: Owned, taken: Any) -> None:
        self.taken.append((owned, taken.offset))
        await asyncio.sleep(0)
        if len(self.taken) == 1:
            self.then()


async def fetched(bench: RunnerBench, intake: Intake) -> None:
    bench.runner._intake = intake  # type: ignore[assignment]
    fetching = asyncio.create_task(bench.runner._fetch())
    await asyncio.sleep(0.05)
    fetching.cancel()


async def test_records_of_an_old_generation_are_not_taken_into_the_new_one(bench: RunnerBench) -> None:
    """While one partition's records are taken the group changes: those of the other belong to nobody now."""
    batch = TopicPartition(calls_topic("m", "batch"), 0)
    bench.runner._owned[batch] = Owned(batch, "batch", 0, mark=Watermark(0))
    bench.consumer.batches = [{TP: [record(b"", 0), record(b"", 1)], batch: [record(b"", 0, batch)]}]
    intake = Intake()

    def change() -> None:
        for owned in bench.runner._owned.values():
            owned.alive = False
        bench.runner._owned = {tp: Owned(tp, "batch", 0, mark=Watermark(5)) for tp in (TP, batch)}

    intake.then = change
    await fetched(bench, intake)
    assert intake.taken == [(bench.owned, 0)]


async def test_records_read_before_a_partition_opened_are_not_taken(bench: RunnerBench) -> None:
    """Opening seeks to the mark: they come again."""
    batch = TopicPartition(calls_topic("m", "batch"), 0)
    late = bench.runner._owned[batch] = Owned(batch, "batch", 0)
    bench.consumer.batches = [{TP: [record(b"", 0)], batch: [record(b"", 0, batch)]}]
    intake = Intake()
    intake.then = lambda: setattr(late, "mark", Watermark(0))
    await fetched(bench, intake)
    assert intake.taken == [(bench.owned, 0)]


async def test_a_lane_whose_tenant_is_paused_reads_on(bench: RunnerBench) -> None:
    """Eight MiB of one paused tenant are a full lane's worth: the tasks behind them are read all the same."""
    bench.deps.control.paused_tenants.add("busy")
    for offset in range(8):
        item = bench.item(offset, tenant="busy")
        bench.queue(Item(item.owned, offset, "standard", 1 << 20, item.task, item.config))
    assert bench.runner._has_room(bench.owned)
    bench.consumer.batches = [{TP: [record(encoded(call_task()), 8)]}]
    fetching = asyncio.create_task(bench.runner._fetch())
    await asyncio.sleep(0.05)
    fetching.cancel()
    peeked = bench.runner._scheduler.peek(0)
    assert peeked is not None and peeked.task.tenant == "t"


async def test_the_sweep_loses_nothing_at_the_edge_of_a_deadline(bench: RunnerBench) -> None:
    late, later = bench.item(0, deadline_at=1000), bench.item(1, deadline_at=1001)
    bench.queue(late)
    bench.queue(later)
    bench.runner._end_early(1000)
    await bench.settle()
    assert [outcome.status for outcome in bench.journal.outcomes] == ["expired"]
    assert len(bench.runner._scheduler) == 1
    assert bench.journal.records == [], "what expires without a try comes out again: it needs no trace"
