"""`sluice report`: cost, usage, latency and errors as tables, CSV, JSON or a page with plots."""

import asyncio
import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from sinks.clickhouse import Access
from sinks.report_period import BadPeriod, period, steps
from sinks.reports import (
    DEFAULT_BY,
    REPORTS,
    Measure,
    Period,
    Report,
    UnknownDimension,
    chosen,
    series_of,
    table_of,
)
from streams.cli import output
from streams.cli.clickhouse import ClickHouse
from streams.cli.connect import where
from streams.cli.failure import BadInput, Unwanted
from streams.cli.sparkline import sparkline

Form = Literal["table", "csv", "json"]
Group = tuple[str, ...]

_NONE: Final = "(none)"


@dataclass(frozen=True)
class Asked:
    """What a person asks for. `by` as one text with commas, None for the report's own; times as given."""

    report: str
    by: str | None
    since: str
    until: str | None
    tenant: str | None
    limit: int


@dataclass(frozen=True)
class Answer:
    """A report with its figures. `series` holds the headline of a group in each step, None where nothing was."""

    report: Report
    by: tuple[str, ...]
    period: Period
    rows: list[dict[str, Any]]
    totals: dict[str, Any]
    series: dict[Group, list[float | None]]

    def group(self, row: Mapping[str, Any]) -> Group:
        """What a row is about: the values of its dimensions, as they are shown."""
        return tuple(str(row[name]) or _NONE for name in self.by)


async def report(asked: Asked, form: Form, html: Path | None) -> None:
    """Print a report, or write it as a page to `html`. Raises BadInput; Unwanted where the period holds nothing."""
    now = datetime.now(UTC)
    answer = await _ask(asked, now)
    if html is not None:
        from streams.cli.report_page import page

        text = page(answer, asked.tenant, now)
        await asyncio.to_thread(html.write_text, text, encoding="utf-8")
        output.note(f"{html}: {len(answer.rows)} rows")
    elif form == "json":
        for row in answer.rows:
            output.emit(row)
    elif form == "csv":
        _csv(answer)
    elif answer.rows:
        _table(answer, asked)
    if not answer.rows:
        shown = f"{iso(answer.period.since)} and {iso(answer.period.until)}"
        raise Unwanted(f"nothing lies between {shown}", "ask for a longer time: --since 30d")


async def _ask(asked: Asked, now: datetime) -> Answer:
    kind = REPORTS[asked.report]
    names = [name.strip() for name in asked.by.split(",")] if asked.by else DEFAULT_BY[asked.report]
    try:
        by, span = chosen(kind, names), period(asked.since, asked.until, now)
    except UnknownDimension as error:
        raise BadInput(str(error), "for example: --by tenant,model") from error
    except BadPeriod as error:
        raise BadInput(
            str(error), "for example: --since 7d, or --since 2026-11-01 --until 2026-12-01"
        ) from error
    at = where()
    database = Access(at.clickhouse_url, database=at.settings.clickhouse_database).analytics
    async with ClickHouse(at) as clickhouse:
        statements = (
            table_of(kind, database, by, span, asked.tenant, asked.limit),
            table_of(kind, database, (), span, asked.tenant, 1),
            series_of(kind, database, by, span, asked.tenant),
        )
        rows, totals, series = await asyncio.gather(
            *(clickhouse.rows(s.sql, s.parameters) for s in statements)
        )
    plain = [{name.removeprefix("by_"): value for name, value in row.items()} for row in rows]
    return Answer(kind, by, span, plain, totals[0], _series(series, by, steps(span)))


def _series(
    found: Sequence[Mapping[str, Any]], by: Sequence[str], length: int
) -> dict[Group, list[float | None]]:
    series: dict[Group, list[float | None]] = {}
    for row in found:
        group = tuple(str(row[f"by_{name}"]) or _NONE for name in by)
        line = series.setdefault(group, [None] * length)
        if 0 <= row["step"] < length and row["value"] is not None:
            line[row["step"]] = float(row["value"])
    return series


def figure(measure: Measure, value: Any) -> str:
    """A figure for people: `-` where it is unknown."""
    if value is None:
        return "-"
    forms: dict[str, Callable[[float], str]] = {
        "dollars": lambda v: f"{v:,.6f}" if 0 < v < 0.01 else f"{v:,.4f}",
        "ms": lambda v: f"{v:,.0f}",
        "share": lambda v: f"{v:.1%}",
        "count": lambda v: f"{v:,.0f}",
        "tokens": lambda v: f"{v:,.0f}",
    }
    return forms[measure.unit](float(value))


def iso(ms: int) -> str:
    """Milliseconds since the epoch as a time in UTC for people, to the minute."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def notes(answer: Answer) -> list[str]:
    """What a reader must know to read the figures right."""
    told = []
    unpriced = int(answer.totals.get("unpriced") or 0)
    if unpriced:
        told.append(f"{unpriced:,} attempts have no known cost: they aren't in the sums")
    if int(answer.totals.get("estimated") or 0) or int(answer.totals.get("unknown") or 0):
        told.append(
            "estimated: attempts whose tokens are estimates; unknown: whose tokens nobody knows, not in the sums"
        )
    return told


def _table(answer: Answer, asked: Asked) -> None:
    kind = answer.report
    by_time = any(name in ("hour", "day", "month") for name in answer.by)
    heads = [
        *answer.by,
        *(f">{m.name}" for m in kind.measures),
        *([] if by_time else [f"{kind.headline} over time"]),
    ]
    lines: list[list[object]] = []
    for row in answer.rows:
        shown: list[object] = [*answer.group(row), *(figure(m, row[m.name]) for m in kind.measures)]
        lines.append(shown if by_time else [*shown, sparkline(answer.series.get(answer.group(row), []))])
    lines.append(
        ["total", *[""] * (len(answer.by) - 1), *(figure(m, answer.totals[m.name]) for m in kind.measures)]
    )
    span = f"{iso(answer.period.since)} to {iso(answer.period.until)}"
    output.table(f"{kind.about}; {span}", heads, (line + [""] * (len(heads) - len(line)) for line in lines))
    for text in notes(answer):
        output.say(text, "dim")
    if len(answer.rows) == asked.limit:
        output.note(f"the first {asked.limit} rows: --limit N shows more (the total is over all)")


def _csv(answer: Answer) -> None:
    names = [*answer.by, *(m.name for m in answer.report.measures)]
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(answer.rows)
