"""How fast the sink is, how fresh its rows are and what it holds in memory. `make bench NAME=sink`.

One run on one machine, each phase on real parts (Kafka, registry, ClickHouse in a process of its own):

    rate        a backlog into a database of its own, by the sink and by a bare loop in turn (see `bare_insert`)
    quiet       two requests a second: small chunks
    half load   half of that rate: from a record's time on Kafka until its chunk is done, so that every row is there
    large       results of 1 MiB while ClickHouse stands still: what has been read stays within bounds
    cookbook    the analysts' questions on 10M rows (see `bench_cookbook`)

The last line is JSON. Smaller: `make bench NAME=sink ARGS="--requests 10000 --cookbook-rows 0"`.
"""

import argparse
import asyncio
import json
import shutil
import signal
import sys
import tempfile
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from sinks.clickhouse import ClickHouse
from sinks.ledger import Partition, State
from sinks.migrate import migrate
from tests.benchmarks.bench_cookbook import cookbook_p95_ms
from tests.benchmarks.sink_rig import TABLES, Process, Rig, landed, rate, requests, rows_in

ROWS = 9
"""A finished request's rows in all tables; it has six events."""
EVENTS = 6
COOKBOOK_MS = 300


@dataclass(frozen=True)
class Sizes:
    """How large the phases are: requests of the backlog, turns of each side, seconds, MiB of large results."""

    requests: int = 50_000
    turns: int = 3
    quiet_s: int = 15
    half_load_s: int = 30
    large_mb: int = 200
    cookbook_rows: int = 10_000_000

    @classmethod
    def of(cls, arguments: Sequence[str] | None) -> "Sizes":
        """The sizes that a command line gives."""
        parser = argparse.ArgumentParser(prog="bench_sink", description="Measures the sink.")
        for each in fields(cls):
            option = f"--{each.name.replace('_', '-')}"
            parser.add_argument(option, type=int, default=each.default, metavar="N", help=f"({each.default})")
        return cls(**vars(parser.parse_args(arguments)))


@dataclass(frozen=True)
class Turn:
    """One backlog brought in by one side; the engine's CPU is from the start of the side's process on."""

    rows_per_s: float
    cpu_us_per_row: float
    engine_us_per_row: float


async def turn(rig: Rig, side: str, number: int, rows: int) -> tuple[Turn, Process]:
    """Bring the backlog into a new database; the process runs on."""
    database = f"bench_{side}_{number}"
    clickhouse = rig.clickhouse(database)
    engine = rig.engine_cpu_s()
    if side == "sink":
        process = rig.sink(database)
    else:
        await migrate(rig.access(database))
        process = rig.bare(database, *(["--codec"] if side == "bare_codec" else []))
    try:
        await landed(clickhouse, rows, process)
        engine_us = (rig.engine_cpu_s() - engine) * 1e6 / rows
        made = Turn(await rate(clickhouse), process.cpu_us_per_row(rows), engine_us)
    finally:
        await clickhouse.close()
    cpu = f"{made.cpu_us_per_row:.1f} us of its CPU a row, {made.engine_us_per_row:.1f} of the engine's"
    print(f"{side} {number}: {made.rows_per_s:,.0f} rows/s, {cpu}", flush=True)
    return made, process


async def drop(rig: Rig, process: Process, database: str) -> None:
    """End a side's process and remove its rows."""
    process.end()
    clickhouse = rig.clickhouse(database)
    for name in (database, clickhouse.access.analytics):
        await clickhouse.command(f"DROP DATABASE IF EXISTS {name}")
    await clickhouse.close()


async def rates(rig: Rig, sizes: Sizes) -> tuple[dict[str, Any], Process, str]:
    """The sides in turn; the last sink runs on, on its database."""
    size = await rig.publish(requests(rig.codec, 0, sizes.requests))
    rows, made = sizes.requests * ROWS, dict[str, list[Turn]]()
    for number in range(sizes.turns):
        for side in ("bare", "bare_codec", "sink"):
            done, process = await turn(rig, side, number, rows)
            made.setdefault(side, []).append(done)
            if side != "sink" or number < sizes.turns - 1:
                await drop(rig, process, f"bench_{side}_{number}")
    best = {side: max(t.rows_per_s for t in turns) for side, turns in made.items()}
    cpu = {side: min(t.cpu_us_per_row for t in turns) for side, turns in made.items()}
    figures = {
        "ratio_to_bare_insert": best["sink"] / best["bare"],
        "ratios_by_turn": [
            s.rows_per_s / b.rows_per_s for s, b in zip(made["sink"], made["bare"], strict=True)
        ],
        "ratio_to_own_codec": best["sink"] / best["bare_codec"],
        "rows_per_s": best["sink"],
        "rows_per_s_by_turn": {side: [round(t.rows_per_s) for t in turns] for side, turns in made.items()},
        "bytes_per_s": best["sink"] * size / rows,
        "cpu_us_per_row": cpu,
        "engine_us_per_row": {side: min(t.engine_us_per_row for t in turns) for side, turns in made.items()},
        "rows_per_chunk_busy": await rows_per_chunk(process),
    }
    return figures, process, f"bench_sink_{sizes.turns - 1}"


async def rows_per_chunk(process: Process, before: tuple[float, float] = (0, 0)) -> float:
    """The mean size of the chunks written since `before`."""
    rows, chunks = await chunks_of(process)
    return (rows - before[0]) / max(1, chunks - before[1])


async def chunks_of(process: Process) -> tuple[float, float]:
    """Rows and chunks so far, by the sink's own metrics."""
    async with httpx.AsyncClient(trust_env=False) as http:
        page = (await http.get(f"http://127.0.0.1:{process.web_port}/metrics")).text
    values = {s.name: s.value for family in text_string_to_metric_families(page) for s in family.samples}
    return values["sluice_sink_chunk_rows_sum"], values["sluice_sink_chunk_rows_count"]


async def open_loop(
    rig: Rig, clickhouse: ClickHouse, process: Process, first: int, per_s: float, seconds: int
) -> dict[str, float]:
    """Publish so many requests a second; how old records are when their chunk is done, and how large chunks are."""
    before, count = await chunks_of(process), int(per_s * seconds)
    there = sum((await rows_in(clickhouse)).values())
    encoded = list(requests(rig.codec, first, count))
    await rig.publish(encoded, per_s * EVENTS)
    await landed(clickhouse, there + count * ROWS, process)
    await settled(clickhouse)
    ages = await ages_s(clickhouse, first)
    cuts = quantiles(ages, n=100)
    return {"p50_s": cuts[49], "p99_s": cuts[98], "rows_per_chunk": await rows_per_chunk(process, before)}


async def settled(clickhouse: ClickHouse) -> None:
    """Until the ledger has no open intent."""
    sql = f"SELECT state FROM {clickhouse.access.database}.sink_ledger ORDER BY sequence DESC LIMIT 1"
    while msgspec.json.decode((await clickhouse.query(sql))[0][0], type=State).open:
        await asyncio.sleep(0.1)


async def ages_s(clickhouse: ClickHouse, first: int) -> list[float]:
    """How long after its time on Kafka each record of the requests from `first` on was in with its whole chunk.

    The ledger tells: a chunk is done with the version in which its intent is no longer open.
    """
    database = clickhouse.access.database
    sql = f"SELECT state, toUnixTimestamp64Milli(inserted_at) FROM {database}.sink_ledger ORDER BY sequence"
    done: dict[Partition, list[tuple[int, int]]] = {}
    before: dict[str, Any] = {}
    for text, at in await clickhouse.query(sql):
        intents = {i.id: i for i in msgspec.json.decode(text, type=State).open}
        for intent in (before[i] for i in before.keys() - intents.keys()):
            for r in intent.ranges:
                done.setdefault(r.at, []).append((r.start, at))
        before = intents
    sql = (
        "SELECT kafka_topic, kafka_partition, kafka_offset, toUnixTimestamp64Milli(kafka_timestamp) "
        f"FROM {database}.{{table}} WHERE toUInt64(substring(request_id, 9)) >= {first}"
    )
    ages = []
    for table in TABLES:
        for topic, partition, offset, stamp in await clickhouse.query(sql.format(table=table)):
            ends = done[topic, partition]
            at = ends[bisect_right(ends, (offset, 1 << 62)) - 1][1]
            ages.append((at - stamp) / 1000)
    return ages


async def large(rig: Rig, clickhouse: ClickHouse, process: Process, first: int, mb: int) -> float:
    """Results of 1 MiB while ClickHouse stands still, until they have landed; the worker's memory meanwhile, MiB."""
    there = sum((await rows_in(clickhouse)).values())
    process.peak_rss_mb = 0
    rig.engine(signal.SIGSTOP)
    try:
        await rig.publish(requests(rig.codec, first, mb, text="x" * (1 << 20)))
        for _ in range(40):
            process.sample()
            await asyncio.sleep(0.25)
    finally:
        rig.engine(signal.SIGCONT)
    await landed(clickhouse, there + mb * ROWS, process)
    return process.peak_rss_mb


async def run(rig: Rig, sizes: Sizes) -> dict[str, Any]:
    """All phases."""
    figures, process, database = await rates(rig, sizes)
    backlog_rss = process.peak_rss_mb
    clickhouse = rig.clickhouse(database)
    first = sizes.requests
    quiet = await open_loop(rig, clickhouse, process, first, 2, sizes.quiet_s)
    print("quiet:", json.dumps(quiet))
    first += 2 * sizes.quiet_s
    per_s = median(figures["rows_per_s_by_turn"]["sink"]) / ROWS / 2
    process.peak_rss_mb = 0
    half = await open_loop(rig, clickhouse, process, first, per_s, sizes.half_load_s)
    print(f"half load, {per_s:.0f} requests/s:", json.dumps(half))
    half_rss = process.peak_rss_mb
    first += int(per_s * sizes.half_load_s)
    large_rss = await large(rig, clickhouse, process, first, sizes.large_mb)
    await clickhouse.close()
    await drop(rig, process, database)
    rss = {"backlog": round(backlog_rss), "half_load": round(half_rss), "large_results": round(large_rss)}
    figures |= {
        "freshness_p50_s": half["p50_s"],
        "freshness_p99_s": half["p99_s"],
        "rows_per_chunk_half_load": half["rows_per_chunk"],
        "freshness_quiet_p99_s": quiet["p99_s"],
        "rows_per_chunk_quiet": quiet["rows_per_chunk"],
        "rss_by_phase_mb": rss,
        "rss_over_engine_mb": max(rss.values()),
    }
    if sizes.cookbook_rows:
        found = await asyncio.to_thread(cookbook_p95_ms, rig.access("bench_cookbook"), sizes.cookbook_rows)
        figures["cookbook_slow_ms"] = {q: round(ms) for q, ms in found.items() if ms > COOKBOOK_MS}
        figures["cookbook_p95_ms"] = max(found.values())
    return figures


async def main(sizes: Sizes) -> None:
    """Run, print, and leave nothing behind."""
    home = Path(tempfile.mkdtemp(prefix="sluice-bench-"))
    rig = Rig(home)
    try:
        await rig.start()
        figures = await run(rig, sizes)
    finally:
        rig.close()
    shutil.rmtree(home)
    print(json.dumps(msgspec.json.decode(msgspec.json.encode(_rounded(figures)))))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Sizes.of(None))))
