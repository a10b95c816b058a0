"""`sluice query`: read-only SQL."""

import re
import sys
from typing import Any, Literal

from streams.cli import output
from streams.cli.clickhouse import ClickHouse
from streams.cli.connect import where
from streams.cli.failure import BadInput

Format = Literal["table", "json", "csv"]
_SHOWN_ROWS = 1000
_NUMERIC = re.compile(r"(LowCardinality\(|Nullable\()*(U?Int|Float|Decimal)")


async def run_query(sql: str, form: str) -> None:
    """Print the answer as a table, as JSON Lines, or as CSV with a header."""
    text = sys.stdin.read() if sql == "-" else sql
    if not text.strip():
        raise BadInput("the query is empty", "for example: sluice query 'SELECT count() FROM results'")
    async with ClickHouse(where()) as clickhouse:
        if form == "table":
            await _table(clickhouse, text)
            return
        async for piece in clickhouse.stream(text, "JSONEachRow" if form == "json" else "CSVWithNames"):
            sys.stdout.buffer.write(piece)
        sys.stdout.flush()


async def _table(clickhouse: ClickHouse, sql: str) -> None:
    columns, types, rows = await clickhouse.columns_and_rows(sql)
    if not columns:
        output.note("no rows")
        return
    numeric = [_NUMERIC.match(t) is not None for t in types]
    heads = [f">{c}" if n else c for c, n in zip(columns, numeric, strict=True)]
    output.table(None, heads, ([_shown(v) for v in row] for row in rows[:_SHOWN_ROWS]))
    if len(rows) > _SHOWN_ROWS:
        output.note(f"{_SHOWN_ROWS} of {len(rows)} rows shown: add a LIMIT, or use --json or --csv for all")


def _shown(value: Any) -> object:
    if isinstance(value, dict | list):
        import json

        return json.dumps(value, ensure_ascii=False)
    return value
