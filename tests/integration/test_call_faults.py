"""What survives a call worker: kill -9 at each step, hand-over in order, a zombie. Real processes on a real Kafka.

The owner of every partition is the worker with the least letter; the others stand by.
"""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import get_args

import pytest

from schemas.records import Outcome
from streams.crash import CrashPoint
from streams.local.stack import Stack
from tests.fakes.call_rig import Rig, until

POINTS = [point for point in get_args(CrashPoint) if point.startswith("call.")]


@pytest.fixture
async def rig(kafka_brokers: str, tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(kafka_brokers, tmp_path)
    yield rig
    await rig.close()


def of(seen: dict[str, list[Outcome]], model: str) -> dict[str, list[Outcome]]:
    return {key: outcomes for key, outcomes in seen.items() if key.startswith(f"{model}-")}


async def test_kill_at_each_step(rig: Rig) -> None:
    """One model and one doomed owner a crash point, one standby for all: nothing lost, nothing called unjournaled.

    A crash between `started` and the call: unknown, and the provider never saw it. A crash after the outcome: the
    standby may repeat it as unknown, which route ignores. What was done before is not called again.
    """
    names = [f"c{i}" for i in range(len(POINTS))]
    await rig.start({name: {"limits": {"concurrency": 4}} for name in names}, latency_ms="20", spread_ms="20")
    owners = {}
    for name, point in zip(names, POINTS, strict=True):
        nth = 3 if point == "call.after_commit" else 7
        owners[name] = rig.worker("a", name, crash_point=f"{point}:{nth}")
    for owner in owners.values():
        await owner.says("ready")
    await rig.worker("b").says("ready")
    for name in names:
        await rig.publish(rig.task(name, i) for i in range(30))
    for owner in owners.values():
        assert await owner.ended() == -signal.SIGKILL
    seen = await rig.settled(30 * len(names))
    await rig.check_books()
    called = {header.rpartition(".")[0] for header in (await rig.counts())["by_attempt"]}
    for name, point in zip(names, POINTS, strict=True):
        mine = of(seen, rig.model(name))
        firsts = Counter(outcomes[0].status for outcomes in mine.values())
        unknown = [o for outcomes in mine.values() for o in outcomes if o.status == "unknown"]
        assert len(mine) == 30 and set(firsts) <= {"succeeded", "unknown"}, (point, firsts)
        assert len(unknown) <= 12, f"{point}: more unknown than ran, or had their end written, at once"
        never = [o for o in unknown if o.attempt_id not in called]
        if point == "call.after_started":
            assert never, "the call that the crash prevented is unknown to us, and to the provider"
        if point in ("call.mid_stream", "call.after_response"):
            assert unknown and all(o.attempt_id in called for o in unknown[:1])
        if point in ("call.after_outcome",):
            doubled = [o for o in mine.values() if [x.status for x in o] == ["succeeded", "unknown"]]
            assert doubled, "the outcome was durable and its `done` wasn't"


async def test_a_hanging_first_call_makes_nothing_be_called_again(rig: Rig) -> None:
    """The mark can't pass a call that hangs; the journal tells the 500 that finished above it."""
    await rig.start({"m": {"timeouts": {"first_token_s": 100, "total_s": 100}}})
    owner = rig.worker("a")
    await owner.says("ready")
    await rig.publish([rig.task("m", "hangs", "[[hang]]")])
    await rig.publish(rig.task("m", i) for i in range(500))
    await rig.settled(500)
    standby = rig.worker("b")
    owner.signal(signal.SIGKILL)
    await standby.says("ready")
    seen = await rig.settled(501)
    assert [o.status for o in seen[rig.model("m") + "-hangs"]] == ["unknown"]
    assert all([o.status for o in outcomes] == ["succeeded"]
               for key, outcomes in seen.items() if not key.endswith("hangs"))  # fmt: skip
    counts = await rig.counts()
    assert counts["total"] == 501 and set(counts["by_attempt"].values()) == {1}
    await rig.check_books()


async def test_sigterm_of_the_owner_pays_nothing_twice(rig: Rig) -> None:
    """Long calls run and more tasks wait while the owner is told to end: the standby calls what waits, the owner
    finishes what runs, nothing is unknown."""
    await rig.start({"m": {"limits": {"concurrency": 20}}}, latency_ms="5000", spread_ms="3000")
    owner, standby = rig.worker("a"), rig.worker("b")
    await owner.says("ready")
    await standby.says("ready")
    await rig.publish(rig.task("m", i) for i in range(60))

    async def running() -> bool:
        return bool((await rig.counts())["in_flight"] == 20)

    await until(running, 30, "20 calls run")
    owner.signal(signal.SIGTERM)

    async def shared() -> bool:
        return bool((await rig.counts())["in_flight"] > 20)

    await until(shared, 15, "the standby calls while the owner finishes")
    assert await owner.ended() == 0
    seen = await rig.settled(60)
    assert Counter(o.status for outcomes in seen.values() for o in outcomes) == {"succeeded": 60}
    counts = await rig.counts()
    assert counts["total"] == 60 and counts["finished"] == 60
    assert {r.worker[0] for r in await rig.journal() if r.phase == "done"} == {"a", "b"}
    await rig.check_books()


async def test_the_end_of_draining_drops_what_still_runs(rig: Rig) -> None:
    """A call that outlasts the drain is told as unknown by its owner, at once: nobody waits for must_end_by."""
    await rig.start({"m": {}})
    owner, standby = rig.worker("a", drain_timeout_s=1), rig.worker("b")
    await owner.says("ready")
    await standby.says("ready")
    await rig.publish([rig.task("m", 1, "[[hang:2]]")])

    async def running() -> bool:
        return bool((await rig.counts())["in_flight"] == 1)

    await until(running, 20, "the call runs")
    owner.signal(signal.SIGTERM)
    assert await owner.ended(20) == 0
    [outcome] = (await rig.settled(1, 5))[rig.model("m") + "-1"]
    assert outcome.status == "unknown" and outcome.usage is not None and outcome.usage.output == 6
    await rig.publish([rig.task("m", 2)])
    seen = await rig.settled(2)
    assert [o.status for o in seen[rig.model("m") + "-1"]] == ["unknown"]
    assert (await rig.counts())["total"] == 2


async def test_workers_that_come_and_go_pay_nothing_twice(rig: Rig) -> None:
    """Orderly rebalances under a steady load, the partitions moving each time: one call and one outcome a request."""
    await rig.start({"m": {"limits": {"concurrency": 60}}}, latency_ms="1000", spread_ms="500")
    workers = [rig.worker("m")]
    await workers[0].says("ready")
    published, stop = 0, asyncio.Event()

    async def publish() -> None:
        nonlocal published
        while not stop.is_set():
            await rig.publish(rig.task("m", published + i) for i in range(8))
            published += 8
            await asyncio.sleep(0.25)

    publishing = asyncio.create_task(publish())
    for name in ("h", "d", "a"):
        await rig.settled(published + 10)
        workers.append(rig.worker(name))
        await workers[-1].says("ready")
    for worker in (workers[3], workers[1]):
        await rig.settled(published + 10)
        worker.signal(signal.SIGTERM)
        assert await worker.ended() == 0
    stop.set()
    await publishing
    seen = await rig.settled(published)
    assert Counter(o.status for outcomes in seen.values() for o in outcomes) == {"succeeded": published}
    assert (await rig.counts())["total"] == published
    journal = await rig.journal()
    assert len({r.worker for r in journal if r.phase == "started"}) == 4, "the partitions moved each time"
    moved = {r.attempt_id for r in journal if r.phase == "handed_over"}
    assert len(moved) >= 30, "calls ran when the partitions moved"
    await rig.check_books()


async def test_a_zombie_starts_no_new_call(rig: Rig) -> None:
    """The owner stands still for longer than the session lasts and goes on: the standby has its partitions. What ran
    is unknown, and its true end is told later; nothing else is called twice."""
    await rig.start({"m": {"limits": {"concurrency": 10}}}, latency_ms="200")
    owner, standby = rig.worker("a"), rig.worker("b")
    await owner.says("ready")
    await standby.says("ready")
    await rig.publish(rig.task("m", i) for i in range(400))
    await rig.settled(40)
    owner.signal(signal.SIGSTOP)
    seen = await rig.settled(300)
    owner.signal(signal.SIGCONT)
    seen = await rig.settled(400)
    unknown = [o for outcomes in seen.values() for o in outcomes if o.status == "unknown"]
    assert len(unknown) <= 30, "no more than ran, or had their end written, at once"
    assert all(outcomes[0].status in ("succeeded", "unknown") for outcomes in seen.values())
    counts = await rig.counts()
    assert counts["total"] <= 400 and set(counts["by_attempt"].values()) == {1}
    await rig.check_books()


async def test_a_broker_that_goes_away_and_comes_back(new_stack: Callable[[], Stack], tmp_path: Path) -> None:
    """Calls that run end, and their ends are told when the broker is back; nothing starts in between, nothing is lost
    or called twice, and the worker lives."""
    stack = new_stack()
    rig = Rig(stack.up(["kafka"]).brokers, tmp_path)
    try:
        await rig.start({"m": {"limits": {"concurrency": 20}}}, latency_ms="1500")
        worker = rig.worker("a")
        await worker.says("ready")
        await rig.publish(rig.task("m", i) for i in range(120))
        await rig.settled(30)
        await asyncio.to_thread(stack.down, ["kafka"])
        last = -1

        async def still() -> bool:
            nonlocal last
            total, last = last, int((await rig.counts())["total"])
            await asyncio.sleep(2)
            return total == last

        await until(still, 30, "no call starts without a broker")
        assert last < 120
        await asyncio.to_thread(stack.up, ["kafka"])
        seen = await rig.settled(120)
        assert {o.status for outcomes in seen.values() for o in outcomes} == {"succeeded"}
        counts = await rig.counts()
        assert counts["total"] == 120 and worker.process.poll() is None
        await rig.check_books()
    finally:
        await rig.close()
