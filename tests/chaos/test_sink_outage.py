"""ClickHouse is away, stands still or has no room at full load: the sink waits, holds little, and loses nothing."""

import asyncio
import signal
import time
from pathlib import Path
from subprocess import Popen

import psutil
import pytest

from streams.cli.sink_health import sink_health
from streams.local.ports import choose as choose_port
from tests.chaos.scale import scaled
from tests.chaos.sink_rig import EVENTS, Load, SmallDisk, check_every_table, some_landed
from tests.conftest import Admin
from tests.integration.sink_harness import PARTITIONS, TABLES_OF_TOPIC, Engine, Harness, until_async

FULL_LOAD = 650
"""Requests a second, six events each: what the pipeline sustains."""
MOST_RSS = 300 << 20


class Outage:
    """One worker before an engine of its own, under load."""

    def __init__(self, sink: Harness, engine: Engine) -> None:
        self.sink = sink
        self.engine = engine
        self.port = choose_port()
        self.worker: Popen[bytes] | None = None
        self.most_rss = self.most_waiting = 0

    async def start(self) -> None:
        """The worker comes first, and waits for its ClickHouse."""
        # So often that a reconciliation meets the outage, too.
        often = {"SLUICE_RECONCILE_EVERY_S": "4", "SLUICE_RECONCILE_FRESH_S": "2"}
        self.worker = self.sink.start(SLUICE_WEB_PORT=str(self.port), **often)
        await asyncio.to_thread(self.engine.start)

    async def paused(self) -> bool:
        return (await sink_health(self.port)).paused

    async def watch(self, seconds: float) -> None:
        """The outage itself: the worker lives, is paused, and tells how much waits."""
        assert self.worker is not None
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            assert self.worker.poll() is None, "a worker waits for ClickHouse, it doesn't crash"
            health = await sink_health(self.port)
            self.most_waiting = max(self.most_waiting, health.waiting)
            self.most_rss = max(self.most_rss, psutil.Process(self.worker.pid).memory_info().rss)
            await asyncio.sleep(0.5)


@pytest.mark.parametrize("how", ["down", "stands still"])
async def test_an_outage_at_full_load(
    admin: Admin, kafka_brokers: str, topic_prefix: str, tmp_path: Path, how: str
) -> None:
    """Ten minutes at full size, one in every run. One that stands still answers late: requests time out, leases end."""
    engine = Engine(tmp_path / "engine")
    outage = await prepare(admin, kafka_brokers, topic_prefix, tmp_path, engine)
    seconds = scaled(600, 60) if how == "down" else scaled(150, 4)
    try:
        async with Load(outage.sink, FULL_LOAD).running() as load:
            await some_landed(outage.sink, 1_000)
            if how == "down":
                engine.kill()
                await until_async(outage.paused, 60, "the worker tells that it waits")
            else:
                engine.signal(signal.SIGSTOP)
            before = load.requests
            await outage.watch(seconds)
            published = (load.requests - before) * EVENTS
            if how == "down":
                await asyncio.to_thread(engine.start)
            else:
                engine.signal(signal.SIGCONT)
        began = time.monotonic()
        await outage.sink.settle(load.requests * EVENTS, seconds=600)
        took = time.monotonic() - began
        await check_every_table(outage.sink, load.requests)
        assert outage.most_waiting > 0.5 * published, "the lag stands still while nothing is read"
        assert outage.most_rss < MOST_RSS
        print(
            f"{how} for {seconds} s: {published} events came meanwhile, written {took:.1f} s after the load's end; "
            f"worker {outage.most_rss >> 20} MiB at most, told of {outage.most_waiting} that waited"
        )
    finally:
        await outage.sink.close()
        engine.kill()


async def prepare(admin: Admin, brokers: str, prefix: str, path: Path, engine: Engine) -> Outage:
    sink = Harness(brokers, engine.url, prefix, path)
    await admin.create(*[prefix + t for t in TABLES_OF_TOPIC], partitions=PARTITIONS)
    outage = Outage(sink, engine)
    await outage.start()
    return outage


async def test_a_disk_that_is_full_under_load(
    admin: Admin, kafka_brokers: str, topic_prefix: str, tmp_path: Path
) -> None:
    engine = SmallDisk(tmp_path / "engine")
    outage = await prepare(admin, kafka_brokers, topic_prefix, tmp_path, engine)
    try:
        async with Load(outage.sink, 100).running() as load:
            for _ in range(scaled(4, 1)):
                await some_landed(outage.sink, 100 + load.requests * 4)
                await engine.fill(outage.sink)
                await until_async(outage.paused, 60, "the worker tells that it waits")
                await outage.watch(scaled(20, 3))
                await engine.free(outage.sink)
        await outage.sink.settle(load.requests * EVENTS)
        await check_every_table(outage.sink, load.requests)
        assert not await outage.paused()
        print(f"{'a tmpfs' if engine.mounts else 'the engine own limit'}; {load.requests} requests")
    finally:
        await outage.sink.close()
        engine.kill()
