"""What the choices of the tables cost and save: codecs, order, skip indexes. `make bench NAME=tables`.

Rows are made inside ClickHouse, in the blocks in which the sink would insert them: forty tenants of uneven size, ids
of high entropy, times that rise. Each choice stands beside the table without it, in the same run. The last line is
JSON: bytes a row on disk and milliseconds a query (median of nine).
"""

import argparse
import asyncio
import json
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from sinks.clickhouse import Access, ClickHouse
from sinks.migrate import Migrator
from streams.local.stack import Stack
from streams.settings import get_settings

_DATABASE: Final = "bench_tables"
_RUNS: Final = 9
_BLOCK: Final = 5_000
_STEP_MS: Final = 100

# Uneven: the largest of forty tenants has nearly a third of the rows.
_TENANT: Final = "concat('tenant-', toString(toUInt32(pow(randCanonical(1), 3) * 40)))"
_CONTEXT: Final = {
    "lane": "['interactive', 'standard', 'batch'][1 + rand(15) % 3]",
    "task_type": "['chat', 'extraction', 'classification', 'summarisation'][1 + rand(16) % 4]",
    "application": "concat('app-', toString(rand(17) % 12))",
    "`user`": "concat('user-', toString(rand(18) % 5000))",
    "session_id": "toString(generateUUIDv4(19))",
    "purpose": "'support'",
    "metadata": "map('team', concat('team-', toString(rand(20) % 9)), 'ticket', toString(rand(21) % 1000000))",
}
_KAFKA: Final = {
    "kafka_partition": "toInt32(cityHash64(tenant) % 12)",
    "kafka_offset": "toInt64(number / 12)",
    "kafka_timestamp": "accepted_at + toIntervalMillisecond(5000)",
}
_USAGE: Final = {
    "event_id": "toString(generateUUIDv4(1))",
    "tenant": _TENANT,
    "request_id": "toString(generateUUIDv4(2))",
    "attempt": "if(rand(2) % 20 = 0, 2, 1)",
    "attempt_id": "lower(hex(sipHash128(number)))",
    "tries": "1",
    "status": "multiIf(rand(3) % 25 = 0, 'failed', rand(33) % 2000 = 0, 'unknown', 'succeeded')",
    "accepted_at": f"toDateTime64('2026-05-01 00:00:00.000', 3, 'UTC') + toIntervalMillisecond(number * {_STEP_MS} + rand(4) % 400)",  # noqa: E501
    "recorded_at": "accepted_at + toIntervalMillisecond(300 + rand(5) % 4000)",
    "config_version": "'a1b2c3d4e5f60718'",
    "model": "['gpt-small', 'gpt-large', 'sonnet', 'haiku', 'local'][1 + rand(6) % 5]",
    "provider": "if(model = 'local', 'local', 'vendor')",
    "deployment": "concat(model, '-eu')",
    "vendor_model": "concat(model, '-2026')",
    "input_uncached_tokens": "200 + rand(7) % 3000",
    "cache_read_tokens": "if(rand(8) % 3 = 0, rand(9) % 2000, 0)",
    "output_tokens": "20 + rand(10) % 800",
    "usage_raw": "concat('{\"prompt_tokens\":', toString(input_uncached_tokens), ',\"completion_tokens\":', toString(output_tokens), '}')",  # noqa: E501
    "cost": "toDecimal64(input_uncached_tokens * 0.0000005 + output_tokens * 0.0000015, 9)",
    "error_class": "if(status = 'failed', 'rate_limited', '')",
    "issued_at": "accepted_at + toIntervalMillisecond(5 + rand(11) % 20)",
    "started_at": "issued_at + toIntervalMillisecond(5 + rand(12) % 500)",
    "first_token_at": "started_at + toIntervalMillisecond(100 + rand(13) % 900)",
    "ended_at": "first_token_at + toIntervalMillisecond(200 + rand(14) % 3000)",
    **_CONTEXT,
    "kafka_topic": "'llm.usage'",
    **_KAFKA,
}
_DECISIONS: Final = {
    **{
        name: _USAGE[name]
        for name in ("event_id", "tenant", "request_id", "accepted_at", "config_version", "model")
    },
    "decided_at": "accepted_at + toIntervalMillisecond(5 + rand(11) % 20)",
    "action": "'accepted'",
    "attempt": "1",
    "candidates": "[model, 'local']",
    "rule": "concat('rule ', toString(rand(22) % 4))",
    "why": "concat(rule, ': first candidate')",
    "worst_case_cost": "toDecimal64((rand(7) % 3000) * 0.000002, 9)",
    **_CONTEXT,
    "kafka_topic": "'llm.audit'",
    **_KAFKA,
}
# A text of 60 to 300 words of a vocabulary in which a few are frequent: of less order than language has.
_WORD: Final = "hex(sipHash64(toUInt32(pow(randCanonical(w), 4) * 20000)) % 1048576)"
_BODIES: Final = {
    **{name: _USAGE[name] for name in ("tenant", "request_id", "accepted_at")},
    "completed_at": "accepted_at + toIntervalMillisecond(300 + rand(5) % 4000)",
    "side": "'output'",
    "text": f"arrayStringConcat(arrayMap(w -> lower({_WORD}), range(60 + rand(23) % 240)), ' ')",
    "kafka_topic": "'llm.results'",
    **_KAFKA,
}
_UNKEPT: Final = {"bodies": {"accepted_at"}}
_COLUMNS: Final[Mapping[str, Mapping[str, str]]] = {
    "usage": _USAGE,
    "decisions": _DECISIONS,
    "bodies": _BODIES,
}


class Bench:
    """One database; variants of a table stand beside it as `<table>_<what>`."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    async def variant(self, table: str, what: str, pattern: str, instead: str) -> str:
        """A table whose definition differs in one choice. Raises AssertionError where the pattern isn't in it."""
        [(made,)] = await self._clickhouse.query(f"SHOW CREATE TABLE {_DATABASE}.{table}")
        name = f"{table}_{what}"
        changed, count = re.subn(
            pattern, instead, str(made).replace(f"{_DATABASE}.{table}", f"{_DATABASE}.{name}", 1)
        )
        assert count, f"{pattern} isn't in {made}"
        await self._clickhouse.command(changed)
        return name

    async def fill(self, table: str, like: str, rows: int) -> None:
        """Insert `rows` rows of the kind of `like`, block by block, and merge them into one part a month."""
        columns = _COLUMNS[like]
        kept = [name for name in columns if name not in _UNKEPT.get(like, ())]
        made = ", ".join(f"{value} AS {name}" for name, value in columns.items())
        await self._clickhouse.command(
            f"INSERT INTO {_DATABASE}.{table} ({', '.join(kept)}) "
            f"SELECT {', '.join(kept)} FROM (SELECT number, {made} FROM numbers({rows})) "
            f"SETTINGS max_insert_block_size = {_BLOCK}, max_block_size = {_BLOCK}, max_threads = 1, "
            "min_insert_block_size_rows = 0, min_insert_block_size_bytes = 0"
        )
        await self._clickhouse.command(f"OPTIMIZE TABLE {_DATABASE}.{table} FINAL")

    async def bytes_a_row(self, table: str) -> float:
        """On disk."""
        sql = (
            "SELECT sum(bytes_on_disk) / sum(rows) FROM system.parts "
            "WHERE active AND database = {d:String} AND table = {t:String}"
        )
        [(size,)] = await self._clickhouse.query(sql, {"d": _DATABASE, "t": table})
        return round(float(size), 1)

    async def largest_columns(self, table: str, most: int = 6) -> dict[str, float]:
        """Bytes a row of those that take most."""
        sql = (
            "SELECT name, round(data_compressed_bytes / (SELECT sum(rows) FROM system.parts WHERE active AND "
            "database = {d:String} AND table = {t:String}), 2) FROM system.columns WHERE database = {d:String} AND "
            f"table = {{t:String}} ORDER BY data_compressed_bytes DESC LIMIT {most}"
        )
        return {str(n): float(b) for n, b in await self._clickhouse.query(sql, {"d": _DATABASE, "t": table})}

    async def cost(self, sql: str) -> dict[str, float]:
        """The median of nine runs, and how many rows the engine expects to read."""
        [estimate] = await self._clickhouse.query("EXPLAIN ESTIMATE " + sql.replace("{db}", _DATABASE))
        return {"ms": await self._ms(sql), "rows_read": float(estimate[3])}

    async def _ms(self, sql: str) -> float:
        taken = []
        for _ in range(_RUNS):
            begun = time.perf_counter()
            await self._clickhouse.query(sql.replace("{db}", _DATABASE))
            taken.append((time.perf_counter() - begun) * 1000)
        return round(statistics.median(taken), 1)


async def codecs(bench: Bench, rows: int) -> dict[str, object]:
    """Bytes a row with the codecs of the tables, with LZ4 (a server's default), and with ZSTD(1) for all columns."""
    found: dict[str, object] = {}
    for table, count in (("usage", rows), ("decisions", rows), ("bodies", rows // 20)):
        await bench.fill(table, table, count)
        found[f"{table}_bytes_a_row"] = await bench.bytes_a_row(table)
        for what, codec in (("lz4", "LZ4"), ("zstd1", "ZSTD(1)")):
            other = await bench.variant(table, what, r"CODEC\((?:[^()]|\([^()]*\))*\)", f"CODEC({codec})")
            await bench.fill(other, table, count)
            found[f"{table}_bytes_a_row_{what}"] = await bench.bytes_a_row(other)
        found[f"{table}_largest_columns"] = await bench.largest_columns(table)
    return found


async def orders(bench: Bench, rows: int) -> dict[str, object]:
    """Reads by tenant and time, and of the last offsets (an intent that is repeated), with the tables' order and
    index and without them."""
    by_time = await bench.variant(
        "usage", "by_time", r"ORDER BY \(tenant, recorded_at", "ORDER BY (recorded_at, tenant"
    )
    await bench.fill(by_time, "usage", rows)
    day = "recorded_at >= '2026-05-01 06:00:00' AND recorded_at < '2026-05-01 12:00:00'"
    one = f"SELECT model, sum(cost) FROM {{db}}.{{t}} WHERE tenant = 'tenant-7' AND {day} GROUP BY model"
    everyone = f"SELECT tenant, sum(cost) FROM {{db}}.{{t}} WHERE {day} GROUP BY tenant"
    offsets = (
        "SELECT kafka_topic, kafka_partition, kafka_offset FROM {db}.usage WHERE kafka_topic = 'llm.usage' "
        f"AND kafka_partition = 3 AND kafka_offset >= {rows // 12 - 500} AND kafka_offset < {rows // 12}"
    )
    found: dict[str, object] = {}
    for table in ("usage", by_time):
        found[f"{table}_one_tenant"] = await bench.cost(one.replace("{t}", table))
        found[f"{table}_every_tenant"] = await bench.cost(everyone.replace("{t}", table))
    found["by_offset"] = await bench.cost(offsets)
    found["by_offset_without_index"] = await bench.cost(f"{offsets} SETTINGS use_skip_indexes = 0")
    return found


async def measure(url: str, rows: int) -> dict[str, object]:
    clickhouse = ClickHouse(Access(url, database=_DATABASE), timeout_s=900)
    names = (_DATABASE, clickhouse.access.analytics)
    try:
        for name in names:
            await clickhouse.command(f"DROP DATABASE IF EXISTS {name}")
        await Migrator(clickhouse).apply()
        bench = Bench(clickhouse)
        return {"rows": rows, **await codecs(bench, rows), **await orders(bench, rows)}
    finally:
        for name in names:
            await clickhouse.command(f"DROP DATABASE IF EXISTS {name}")
        await clickhouse.close()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench_tables", description="Measures the choices of the tables.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of usage (default: %(default)s)")
    rows = parser.parse_args(arguments).rows
    home = Path(tempfile.mkdtemp(prefix="bench-tables-"))
    stack = Stack(home, get_settings().cache_dir, die_with_parent=True)
    try:
        print(json.dumps(asyncio.run(measure(stack.up(["clickhouse"]).clickhouse_url, rows))))
    finally:
        stack.down()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
