"""How long the questions of docs/cookbook.md about usage take on 10 million rows. `make bench NAME=cookbook`.

The rows are made inside ClickHouse (`autumn_rows`), in a database that is dropped in the end. Each query is asked over
HTTP, its rows read, one after the other: p95 of 20 runs each, after one that isn't counted. The engine's CPU time a run
stands beside it, which tells the same on a busy machine. Questions that join usage with other tables are left out:
those tables are empty here. The last line is JSON.
"""

import argparse
import asyncio
import json
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from sinks.clickhouse import Access, ClickHouse
from sinks.migrate import Migrator
from streams.local.stack import Stack
from streams.settings import get_settings
from tests.benchmarks.autumn_rows import insert

_DATABASE: Final = "bench_cookbook"
_BLOCK: Final = 200_000
_MOST_MS: Final = 300
_DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "cookbook.md"
_QUESTION: Final = re.compile(r"^### (.*?)$.*?^```sql\n(.*?)^```", re.MULTILINE | re.DOTALL)
_VIEW: Final = re.compile(r"\banalytics\.(\w+)")


@dataclass(frozen=True)
class Measured:
    """By question: milliseconds, and those of CPU a run. Bytes on disk of the table and of the sums in it."""

    rows: int
    bytes_on_disk: int
    sums_bytes: int
    p95_ms: dict[str, float]
    cpu_ms: dict[str, float]

    @property
    def missed(self) -> dict[str, float]:
        """The questions that take too long."""
        return {question: ms for question, ms in self.p95_ms.items() if ms > _MOST_MS}


def questions() -> dict[str, str]:
    """The questions about usage alone, and their SQL."""
    found = dict(_QUESTION.findall(_DOCUMENT.read_text("utf-8")))
    return {q: sql for q, sql in found.items() if all(v.startswith("usage") for v in _VIEW.findall(sql))}


def cookbook_p95_ms(access: Access, rows: int = 10_000_000, runs: int = 20) -> dict[str, float]:
    """p95 in milliseconds of each question, on rows made for it in a database of its own beside that of `access`."""
    with ThreadPoolExecutor(1) as apart:  # whoever asks may be inside an event loop
        return apart.submit(asyncio.run, measure(access, rows, runs)).result().p95_ms


async def measure(access: Access, rows: int, runs: int) -> Measured:
    """Fill the database, ask, drop it."""
    clickhouse = ClickHouse(replace(access, database=_DATABASE), timeout_s=900)
    names = (_DATABASE, clickhouse.access.analytics)
    try:
        for name in names:
            await clickhouse.command(f"DROP DATABASE IF EXISTS {name}")
        await Migrator(clickhouse).apply()
        await _fill(clickhouse, rows)
        p95, cpu = {}, {}
        for question, sql in questions().items():
            p95[question], cpu[question] = await _timed(clickhouse, sql, runs)
        return Measured(rows, *await _sizes(clickhouse), p95, cpu)
    finally:
        for name in names:
            await clickhouse.command(f"DROP DATABASE IF EXISTS {name}")
        await clickhouse.close()


async def _fill(clickhouse: ClickHouse, rows: int) -> None:
    for first in range(0, rows, _BLOCK):
        await clickhouse.command(insert(_DATABASE, first, min(_BLOCK, rows - first), rows))
    while (
        await clickhouse.query(
            "SELECT count() FROM system.merges WHERE database = {d:String}", {"d": _DATABASE}
        )
    )[0][0]:
        await asyncio.sleep(0.5)


async def _timed(clickhouse: ClickHouse, sql: str, runs: int) -> tuple[float, float]:
    """p95 and the engine's CPU time a run, in milliseconds."""
    asked = sql.replace("analytics.", f"{clickhouse.access.analytics}.")
    await clickhouse.query(asked)
    taken = []
    before = await _cpu_ms(clickhouse)
    for _ in range(runs):
        begun = time.perf_counter()
        await clickhouse.query(asked)
        taken.append((time.perf_counter() - begun) * 1000)
    cpu = (await _cpu_ms(clickhouse) - before) / runs
    return round(sorted(taken)[-(-runs * 95 // 100) - 1], 1), round(cpu, 1)


async def _cpu_ms(clickhouse: ClickHouse) -> float:
    sql = "SELECT sum(value) / 1000 FROM system.events WHERE event = 'OSCPUVirtualTimeMicroseconds'"
    return float((await clickhouse.query(sql))[0][0])


async def _sizes(clickhouse: ClickHouse) -> tuple[int, int]:
    sql = "SELECT sum(bytes_on_disk) FROM system.{} WHERE active AND database = {{d:String}} AND table = 'usage'"
    found = [await clickhouse.query(sql.format(t), {"d": _DATABASE}) for t in ("parts", "projection_parts")]
    return int(found[0][0][0]), int(found[1][0][0])


def report(measured: Measured) -> dict[str, Any]:
    """What the last line says; prints the rest for people."""
    for question, ms in sorted(measured.p95_ms.items(), key=lambda item: -item[1]):
        missed = "  MISSED" if ms > _MOST_MS else ""
        print(f"{ms:8.1f} ms, {measured.cpu_ms[question]:8.1f} ms of CPU  {question}{missed}")
    return {
        "cookbook_p95_ms": max(measured.p95_ms.values()),
        "questions": len(measured.p95_ms),
        "missed": measured.missed,
        "cpu_ms": max(measured.cpu_ms.values()),
        "rows": measured.rows,
        "bytes_on_disk": measured.bytes_on_disk,
        "sums_bytes": measured.sums_bytes,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="bench_cookbook", description="Times the cookbook's questions about usage."
    )
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of usage (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=20, help="of each question (default: %(default)s)")
    options = parser.parse_args(arguments)
    home = Path(tempfile.mkdtemp(prefix="bench-cookbook-"))
    stack = Stack(home, get_settings().cache_dir, die_with_parent=True)
    try:
        access = Access(stack.up(["clickhouse"]).clickhouse_url)
        print(json.dumps(report(asyncio.run(measure(access, options.rows, options.runs)))))
    finally:
        stack.down()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
