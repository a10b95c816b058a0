"""How much the whole pipeline carries, what it costs, and what it adds to a call. `make bench NAME=pipeline`.

One run on one machine: a backlog for the sustained rate and the CPU a request takes, an open-loop load at half of
that rate for the added latency, 10,000 calls in flight for the memory, and a bare loop beside it (see `bare_loop`).
Journal, usage, audit and ClickHouse are on. The last line is JSON. Smaller: `make bench NAME=pipeline
ARGS="--backlog 3000 --in-flight 2000"`. Exit code 1 where so many calls never were in flight at once: the figure of
their memory is null then.
"""

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas import names
from schemas.records import ResultEvent
from tests.benchmarks.pipeline_rig import PROMPT, STAGES, Rig, Worker
from tests.pipeline.store import Store

DATABASE = "sluice"


@dataclass(frozen=True)
class Sizes:
    """How large the phases are: requests, seconds of the half load, calls in flight."""

    warm_up: int = 600
    backlog: int = 12_000
    half_load_s: int = 20
    in_flight: int = 10_000
    bare: int = 8_000

    @classmethod
    def of(cls, arguments: Sequence[str] | None) -> "Sizes":
        """The sizes that a command line gives."""
        parser = argparse.ArgumentParser(prog="bench_pipeline", description="Measures the whole pipeline.")
        for each in fields(cls):
            option = f"--{each.name.replace('_', '-')}"
            parser.add_argument(option, type=int, default=each.default, metavar="N", help=f"({each.default})")
        return cls(**vars(parser.parse_args(arguments)))


class Results:
    """Follows a topic and tells when each key's record came, monotonic seconds."""

    def __init__(self, brokers: str, topic: str, key_of: Callable[[Any], tuple[str, Any]]) -> None:
        self._consumer = AIOKafkaConsumer(
            topic,
            bootstrap_servers=brokers,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            fetch_max_wait_ms=8,
            fetch_min_bytes=1 << 16,
        )
        self._key_of = key_of
        self.seen: dict[str, tuple[float, Any]] = {}

    async def start(self) -> "Results":
        await self._consumer.start()
        self._task = asyncio.create_task(self._follow())
        return self

    async def _follow(self) -> None:
        while True:
            for batch in (await self._consumer.getmany(timeout_ms=500)).values():
                now = time.monotonic()
                for message in batch:
                    key, value = self._key_of(message)
                    self.seen[key] = now, value

    async def until(self, wanted: set[str], within_s: float, each: Callable[[], None] = lambda: None) -> None:
        """Until every wanted key was seen. Raises TimeoutError."""
        deadline = time.monotonic() + within_s
        while missing := len(wanted - self.seen.keys()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{missing} of {len(wanted)} results missing after {within_s} s")
            each()
            await asyncio.sleep(0.25)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._consumer.stop()


def rate(times: list[float]) -> float:
    """Records a second between the first and last tenth of the arrivals: no start-up, no tail."""
    times = sorted(times)
    first, last = len(times) // 10, len(times) * 9 // 10
    return (last - first) / (times[last] - times[first])


def encoded(rig: Rig, count: int, model: str = "mock") -> dict[str, bytes]:
    """Requests by id."""
    run = uuid.uuid4().hex[:8]
    return {f"{run}-{i}": rig.request(f"{run}-{i}", i, model) for i in range(count)}


async def publish(rig: Rig, requests: dict[str, bytes], per_s: float | None = None) -> dict[str, float]:
    """Publish all, as fast as may be or at a rate; returns when each was sent."""
    producer = await rig.producer()
    sent: dict[str, float] = {}
    started, pending = time.monotonic(), []
    for number, (request_id, value) in enumerate(requests.items()):
        if per_s and (ahead := started + number / per_s - time.monotonic()) > 0:
            await asyncio.sleep(ahead)
        sent[request_id] = time.monotonic()
        pending.append(await producer.send(names.REQUESTS, value))
    await asyncio.gather(*pending)
    await producer.stop()
    return sent


async def stored(rig: Rig, requests: Collection[str], within_s: float = 120) -> None:
    """Until ClickHouse holds every row of these requests, which are of one run. Raises TimeoutError."""
    prefix, count = next(iter(requests)).rpartition("-")[0], len(requests)
    # Audit: accepted and finalised; attempts: started and done.
    wanted = {"requests": count, "results": count, "usage": count, "audit": 2 * count, "attempts": 2 * count}
    store = Store(rig.endpoints.clickhouse_url, DATABASE)
    deadline = time.monotonic() + within_s
    try:
        while missing := await _missing(store, wanted, prefix):
            if time.monotonic() > deadline:
                raise TimeoutError(f"rows missing in ClickHouse after {within_s} s: {missing}")
            await asyncio.sleep(0.5)
    finally:
        await store.close()


async def _missing(store: Store, wanted: dict[str, int], prefix: str) -> dict[str, int]:
    """How many rows each table lacks, of those that lack some."""
    left = {}
    for table, count in wanted.items():
        [row] = await store.rows(f"SELECT count() AS n FROM {table} WHERE startsWith(request_id, '{prefix}-')")
        left[table] = count - int(row["n"])
    return {table: count for table, count in left.items() if count > 0}


async def sustained(rig: Rig, results: Results, backlog: int) -> dict[str, Any]:
    """A backlog: rate, and CPU a request by stage and of the broker.

    The rate is that of the whole backlog, from the first request sent to the last result seen: between, stages may
    work one after the other, so that results arrive faster for a while than requests can go through.
    """
    requests = encoded(rig, backlog)
    cpu = {stage: rig.workers[stage].cpu_s() for stage in STAGES}
    broker = rig.broker_cpu_s()
    sent = await publish(rig, requests)
    await results.until(set(requests), 300, rig.sample)
    took = max(results.seen[r][0] for r in requests) - min(sent.values())
    await stored(rig, requests)  # the sink's work belongs to the cost of these requests, all of it
    by_stage = {s: (rig.workers[s].cpu_s() - cpu[s]) * 1000 / backlog for s in STAGES}
    return {
        "requests_per_s": backlog / took,
        "cpu_ms_per_request": sum(by_stage.values()),
        "cpu_ms_by_stage": by_stage,
        "broker_cpu_ms_per_request": (rig.broker_cpu_s() - broker) * 1000 / backlog,
    }


async def half_load(rig: Rig, results: Results, per_s: float, seconds: int) -> dict[str, float]:
    """Open-loop load: what the pipeline adds to the provider's own time, milliseconds."""
    requests = encoded(rig, int(per_s * seconds))
    sent = await publish(rig, requests, per_s)
    await results.until(set(requests), 120)
    added = []
    for request_id, sent_at in sent.items():
        seen_at, result = results.seen[request_id]
        provider_ms = result.timings.completed_at - result.timings.started_at
        added.append((seen_at - sent_at) * 1000 - provider_ms)
    cuts = quantiles(added, n=100)
    return {"added_p50_ms": cuts[49], "added_p95_ms": cuts[94], "added_p99_ms": cuts[98]}


async def in_flight(rig: Rig, results: Results, count: int) -> dict[str, Any]:
    """Memory of the call worker with every request waiting for a provider of 30 s, MiB."""
    requests = encoded(rig, count, model="slow")
    call = rig.workers["call"]
    call.peak_rss_mb = 0
    await publish(rig, requests)
    await results.until(set(requests), 240, rig.sample)
    async with httpx.AsyncClient(timeout=30) as http:
        counts = (await http.get(f"{rig.slow_url.removesuffix('/v1')}/counts")).json()
    return memory_in_flight(call.peak_rss_mb, int(counts["most_in_flight"]), count)


def memory_in_flight(peak_rss_mb: float, most: int, wanted: int) -> dict[str, Any]:
    """The figures of the calls in flight. Without as many at once as wanted, the memory says nothing."""
    return {"inflight_10k_rss_mb": peak_rss_mb if most >= wanted else None, "most_in_flight": most}


def peaks(workers: Mapping[str, Worker]) -> dict[str, Any]:
    """The largest worker's memory, and each one's, MiB."""
    by_stage = {stage: round(worker.peak_rss_mb) for stage, worker in workers.items()}
    return {"peak_rss_mb": max(by_stage.values()), "peak_rss_mb_by_stage": by_stage}


async def bare_loop(rig: Rig, count: int) -> float:
    """Requests a second of the bare loop."""
    brokers, name = rig.endpoints.brokers, f"bare-{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    await admin.create_topics([NewTopic(f"{name}.in", 1, 1), NewTopic(f"{name}.out", 1, 1)])
    await admin.close()
    producer = await rig.producer()
    keys = {str(i) for i in range(count)}
    sends = [await producer.send(f"{name}.in", PROMPT.encode(), key=k.encode()) for k in keys]
    await asyncio.gather(*sends)
    await producer.stop()
    results = await Results(brokers, f"{name}.out", lambda m: (m.key.decode(), None)).start()
    command = [sys.executable, "-m", "tests.benchmarks.bare_loop", brokers, f"{name}.in", f"{name}.out"]
    process = subprocess.Popen([*command, rig.provider_url, "500"])
    try:
        await results.until(keys, 120)
    finally:
        process.terminate()
        process.wait(30)
        await results.stop()
    return rate([results.seen[k][0] for k in keys])


async def run(rig: Rig, sizes: Sizes) -> dict[str, Any]:
    """All phases."""

    def decoded(message: Any) -> tuple[str, Any]:
        result = rig.codec.decode(message.value, ResultEvent)
        return result.request_id, result

    results = await Results(rig.endpoints.brokers, names.RESULTS, decoded).start()
    warm = encoded(rig, sizes.warm_up)
    await publish(rig, warm)
    await results.until(set(warm), 120)
    figures = await sustained(rig, results, sizes.backlog)
    print("sustained:", json.dumps(figures))
    bare = await bare_loop(rig, sizes.bare)
    print(f"bare loop: {bare:.0f} requests/s")
    figures |= await half_load(rig, results, figures["requests_per_s"] / 2, sizes.half_load_s)
    figures |= peaks(rig.workers)
    figures |= await in_flight(rig, results, sizes.in_flight)
    figures["ratio_to_bare_loop"] = figures["requests_per_s"] / bare
    figures["bare_requests_per_s"] = bare
    await results.stop()
    return figures


async def main(sizes: Sizes) -> int:
    """Run, print, and leave nothing behind; the exit code."""
    home = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    rig = Rig(home)
    try:
        await rig.start()
        figures = await run(rig, sizes)
    finally:
        rig.close()
    shutil.rmtree(home)
    reached = figures["most_in_flight"] >= sizes.in_flight
    if not reached:
        print(f"only {figures['most_in_flight']} of {sizes.in_flight} calls were in flight at once")
    rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in figures.items()}
    print(json.dumps(rounded, default=lambda v: round(v, 3)))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Sizes.of(None))))
