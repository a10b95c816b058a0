"""The sink's workers and ClickHouse itself are killed in mid-insert, again and again: each record lands once."""

import asyncio
import os
import random
import signal
import subprocess
from collections import Counter
from pathlib import Path

from tests.chaos.scale import scaled
from tests.chaos.sink_rig import EVENTS, Load, check_every_table, some_landed
from tests.conftest import Admin
from tests.integration.sink_harness import PARTITIONS, TABLES_OF_TOPIC, Engine, Harness
from tests.integration.tcp_proxy import Fate, Proxy

VICTIMS = ("worker", "engine", "both")


class Killer:
    """Kills while an insert is on its way: a part of it, or all of it, has gone to the engine, and no answer came."""

    def __init__(self, proxy: Proxy, rng: random.Random) -> None:
        self._proxy = proxy
        self._rng = rng
        self.tables: Counter[str] = Counter()
        proxy.fate = self._fate
        proxy.halfway = self._kill
        self._passes = -1
        self._pids: list[int] = []
        self._done = asyncio.Event()

    async def kill(self, pids: list[int]) -> None:
        """SIGKILL these in mid-insert, and return when that is done."""
        self._done.clear()
        self._pids = pids
        self._passes = self._rng.randrange(8)  # inserts to be let through: of all tables and of the ledger
        self._proxy.share = self._rng.choice([0.0, 0.2, 0.9, 1.0, 1.0])
        async with asyncio.timeout(120):
            await self._done.wait()

    def _fate(self, table: str) -> Fate:
        self._passes -= 1
        if self._passes != -1:
            return "pass"
        self.tables[table] += 1
        return "halfway"

    async def _kill(self) -> None:
        # The pace of the fault: all of the insert is there, and the engine is at work on it.
        await asyncio.sleep(self._rng.uniform(0, 0.02) if self._proxy.share == 1.0 else 0)
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)
        self._done.set()


async def test_kills_in_mid_insert_lose_and_double_nothing(
    admin: Admin, kafka_brokers: str, topic_prefix: str, tmp_path: Path
) -> None:
    """Each worker is of another group, so that it need not wait until the broker misses the killed one."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    rng, kills = random.Random(seed), scaled(60, 10)
    engine = Engine(tmp_path / "engine")
    sink = Harness(kafka_brokers, engine.url, topic_prefix, tmp_path)
    await admin.create(*[topic_prefix + t for t in TABLES_OF_TOPIC], partitions=PARTITIONS)
    proxy = Proxy(engine.port)
    url = await proxy.start()
    killer = Killer(proxy, rng)

    def start(number: int) -> subprocess.Popen[bytes]:
        return sink.start(group=str(number), SLUICE_CLICKHOUSE_URL=url)

    try:
        await asyncio.to_thread(engine.start)
        worker = start(0)
        async with Load(sink, per_s=scaled(100, 40), transactions=50).running() as load:
            await some_landed(sink, 50)
            for number in range(kills):
                victim = VICTIMS[number % len(VICTIMS)]
                assert engine.pid is not None
                pids = {"worker": [worker.pid], "engine": [engine.pid], "both": [worker.pid, engine.pid]}[
                    victim
                ]
                await killer.kill(pids)
                if victim != "engine":
                    assert worker.wait() == -signal.SIGKILL
                    worker = start(number + 1)
                if victim != "worker":
                    engine.kill()  # takes note of its end
                    await asyncio.to_thread(engine.start)
                assert worker.poll() is None, "a worker outlives its ClickHouse"
        await sink.settle(load.requests * EVENTS)
        await check_every_table(sink, load.requests)
        assert worker.poll() is None
        print(f"{kills} kills in mid-insert, by table: {dict(killer.tables)}; {load.requests} requests")
    finally:
        await sink.close()
        await proxy.stop()
        engine.kill()
