"""Publishes numbered ids, runs workers through faults, and checks that each id came out exactly once."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.outbox.kafka import POSITION_KEY, position_of

SESSION_S = 6.0


@dataclass
class Topics:
    """Four topics of one run: PREFIX.in, .out, .state and .dead."""

    brokers: str
    prefix: str
    partitions: int

    @classmethod
    async def create(cls, brokers: str, partitions: int = 4) -> "Topics":
        topics = cls(brokers, f"outbox-{uuid.uuid4().hex[:8]}", partitions)
        admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
        await admin.start()
        try:
            names = [topics.name(n) for n in ("in", "out", "state", "dead")]
            await admin.create_topics([NewTopic(n, partitions, 1) for n in names])
        finally:
            await admin.close()
        return topics

    def name(self, which: str) -> str:
        return f"{self.prefix}.{which}"


@dataclass
class Workers:
    """Worker processes by name. Ends only what it started."""

    topics: Topics
    logs: Path
    options: tuple[str, ...] = ()
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _count: int = 0

    def start(self, crash_point: str = "") -> str:
        self._count += 1
        name = f"w{self._count}"
        env = {
            **os.environ,
            "SLUICE_BROKERS": self.topics.brokers,
            "SLUICE_SESSION_TIMEOUT_MS": str(int(SESSION_S * 1000)),
            "SLUICE_CRASH_POINT": crash_point,
        }
        command = [sys.executable, "-m", "tests.chaos.outbox_worker", self.topics.prefix, *self.options]
        with open(self.logs / f"{name}.log", "wb") as log:
            self.processes[name] = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
        return name

    def signal(self, name: str, number: signal.Signals) -> None:
        if self.processes[name].poll() is None:
            self.processes[name].send_signal(number)

    async def leave(self, name: str, within_s: float = 20) -> None:
        """SIGTERM, and the process must end in time."""
        self.signal(name, signal.SIGTERM)
        await until(lambda: self.processes[name].poll() is not None, within_s, f"{name} to end after SIGTERM")
        del self.processes[name]

    def kill(self, name: str) -> None:
        self.signal(name, signal.SIGKILL)
        self.processes.pop(name).wait()

    def close(self) -> None:
        for name in list(self.processes):
            self.kill(name)


async def until(condition: Callable[[], bool], within_s: float, what: str) -> None:
    """Poll until `condition` holds. Raises AssertionError that says what was waited for."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {within_s} s in vain for {what}"
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def producer(brokers: str) -> AsyncIterator[AIOKafkaProducer]:
    made = AIOKafkaProducer(bootstrap_servers=brokers, enable_idempotence=True, linger_ms=5)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def publish(
    topics: Topics, ids: range, over_s: float = 0, poison: frozenset[int] = frozenset()
) -> None:
    """Publish each id once, evenly over `over_s` seconds; `poison` ids carry a value that no worker can process."""
    async with producer(topics.brokers) as out:
        started, sent = time.monotonic(), []
        for index, number in enumerate(ids):
            value = b"poison" if number in poison else b"id"
            sent.append(await out.send(topics.name("in"), value, key=b"%d" % number))
            if index % 500 == 499:
                await asyncio.gather(*sent)
                sent.clear()
                ahead = started + over_s * (index + 1) / len(ids) - time.monotonic()
                if ahead > 0:
                    await asyncio.sleep(ahead)  # the pace of the load, not a wait for something
        await asyncio.gather(*sent)


async def read_all(
    topics: Topics, which: str, isolation: str = "read_committed"
) -> list[tuple[bytes, bytes]]:
    """Every record of a topic up to its present end, (key, value)."""
    reader = AIOKafkaConsumer(bootstrap_servers=topics.brokers, isolation_level=isolation)
    await reader.start()
    try:
        parts = [TopicPartition(topics.name(which), p) for p in range(topics.partitions)]
        reader.assign(parts)
        await reader.seek_to_beginning(*parts)
        ends = await reader.end_offsets(parts)
        found: list[tuple[bytes, bytes]] = []
        for part in parts:
            while await reader.position(part) < ends[part]:
                for message in (await reader.getmany(part, timeout_ms=500)).get(part, []):
                    found.append((message.key, message.value))
        return found
    finally:
        await reader.stop()


async def wait_for_output(topics: Topics, count: int, within_s: float) -> None:
    """Until at least `count` different ids are in the output. Raises AssertionError with the ids that miss."""
    reader = AIOKafkaConsumer(
        topics.name("out"), bootstrap_servers=topics.brokers, isolation_level="read_committed",
        auto_offset_reset="earliest",
    )  # fmt: skip
    await reader.start()
    seen: set[bytes] = set()
    deadline = time.monotonic() + within_s
    try:
        while len(seen) < count:
            assert time.monotonic() < deadline, f"{count - len(seen)} of {count} ids never came out"
            for batch in (await reader.getmany(timeout_ms=300)).values():
                seen.update(m.key for m in batch)
    finally:
        await reader.stop()


async def wait_until_consumed(topics: Topics, within_s: float) -> None:
    """Until the workers' committed positions are at the input's end. Raises AssertionError with what is left."""
    inputs = [TopicPartition(topics.name("in"), p) for p in range(topics.partitions)]
    states = [TopicPartition(topics.name("state"), p) for p in range(topics.partitions)]
    reader = AIOKafkaConsumer(bootstrap_servers=topics.brokers, isolation_level="read_committed")
    await reader.start()
    try:
        ends = await reader.end_offsets(inputs)
        reader.assign(states)
        await reader.seek_to_beginning(*states)
        left = {tp.partition: end for tp, end in ends.items()}
        deadline = time.monotonic() + within_s
        while any(left.values()):
            assert time.monotonic() < deadline, f"{sum(left.values())} records left after {within_s} s"
            for tp, batch in (await reader.getmany(timeout_ms=300)).items():
                for message in batch:
                    if message.key == POSITION_KEY:
                        position = position_of(message.value) or 0
                        left[tp.partition] = ends[inputs[tp.partition]] - position
    finally:
        await reader.stop()


async def check_exactly_once(
    topics: Topics, ids: range, isolation: str = "read_committed", dead: frozenset[int] = frozenset()
) -> None:
    """Each id is in the output exactly once, and the state is what a replay of the output gives."""
    expected = {b"%d" % i for i in ids if i not in dead}
    out = Counter(key for key, _ in await read_all(topics, "out", isolation))
    lost, twice = expected - out.keys(), {k: n for k, n in out.items() if n > 1}
    assert not lost, f"{len(lost)} ids lost, e.g. {sorted(lost)[:5]}"
    assert not twice, f"{len(twice)} ids came out more than once, e.g. {list(twice.items())[:5]}"
    changelog = await read_all(topics, "state", isolation)
    state = {key: int(value) for key, value in changelog if key != POSITION_KEY}
    assert state == dict(out), "the state differs from a replay of the output"


async def random_faults(
    workers: Workers, rng: random.Random, seconds: float, faults: tuple[str, ...]
) -> Counter[str]:
    """Keep two to three workers, and every 2 to 5 s do one of `faults`; returns how often each was done."""
    done: Counter[str] = Counter()
    while len(workers.processes) < 2:
        workers.start()
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        await asyncio.sleep(rng.uniform(2, 5))  # the pace of the faults, not a wait for something
        fault, name = rng.choice(faults), rng.choice(list(workers.processes))
        done[fault] += 1
        if fault == "join" and len(workers.processes) < 3:
            workers.start()
        elif fault == "leave" or (fault == "join" and len(workers.processes) >= 3):
            await workers.leave(name)
        elif fault == "kill":
            workers.kill(name)
        elif fault == "zombie":
            workers.signal(name, signal.SIGSTOP)
            await asyncio.sleep(SESSION_S + rng.uniform(1, 3))
            workers.signal(name, signal.SIGCONT)
        while len(workers.processes) < 2:
            workers.start()
    return done
