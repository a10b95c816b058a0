"""Reports as SQL over the analysts' views: what each measures, by what it may be grouped, and the statements.

A report is a table with one row a group, its totals (one row over everything: quantiles don't add up), and a series:
the report's headline figure of each group over time, in equal steps. Values travel as parameters; what goes into a
statement as text is a name of the tables below.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

ReportName = Literal["cost", "usage", "latency", "errors"]

_TENANT: Final = "v.tenant = {tenant:String}"


class UnknownDimension(ValueError):
    """A report can't be grouped by that; the message lists by what it can."""


@dataclass(frozen=True)
class Measure:
    """A column of figures. `unit` is one of: count, tokens, dollars, ms, share (0 to 1)."""

    name: str
    sql: str
    unit: Literal["count", "tokens", "dollars", "ms", "share"]


@dataclass(frozen=True)
class Report:
    """`view` is read; `time` is the column by which the period is chosen; `headline` names the charted measure."""

    name: str
    about: str
    view: str
    time: str
    measures: tuple[Measure, ...]
    headline: str
    dimensions: Mapping[str, str]
    where: str = ""

    def measure(self, name: str) -> Measure:
        """The measure of that name."""
        return next(m for m in self.measures if m.name == name)


@dataclass(frozen=True)
class Period:
    """[since, until) in ms since the epoch; `step_s` are the seconds of a step of the series."""

    since: int
    until: int
    step_s: int


@dataclass(frozen=True)
class Statement:
    """A query and its parameters. Its columns are the dimensions, then the measures (or `step` and `value`)."""

    sql: str
    parameters: dict[str, Any]


def _count(name: str, sql: str) -> Measure:
    return Measure(name, sql, "count")


def _tokens(name: str) -> Measure:
    return Measure(name, f"sum(v.{name})", "tokens")


def _quantile(name: str, column: str, level: float) -> Measure:
    return Measure(name, f"quantileExactOrNull({level})(v.{column})", "ms")


_SHARED: Final = ("tenant", "application", "user", "model", "provider", "deployment", "vendor_model", "lane")
_MORE: Final = ("task_type", "status", "error_class", "experiment_key", "purpose", "config_version")


def _dimensions(time: str) -> dict[str, str]:
    named = {name: f"v.`{name}`" for name in (*_SHARED, *_MORE)}
    times = {"hour": "toStartOfHour", "day": "toDate", "month": "toStartOfMonth"}
    return (
        named
        | {name: f"{function}(v.{time}, 'UTC')" for name, function in times.items() if name != "month"}
        | {"month": f"toStartOfMonth(toDate(v.{time}, 'UTC'))"}
    )


_COST: Final = Report(
    "cost",
    "US dollars spent, all attempts of a request together",
    "usage",
    "recorded_at",
    (
        Measure("cost", "sum(v.cost)", "dollars"),
        _count("attempts", "count()"),
        _count("priced", "count(v.cost)"),
        _count("unpriced", "count() - count(v.cost)"),
        Measure(
            "cost_of_failures",
            "if(countIf(v.status != 'succeeded') = 0, 0, sumIf(v.cost, v.status != 'succeeded'))",
            "dollars",
        ),
    ),
    "cost",
    _dimensions("recorded_at"),
)
_USAGE: Final = Report(
    "usage",
    "tokens used, all attempts of a request together",
    "usage",
    "recorded_at",
    (
        _count("attempts", "count()"),
        *map(_tokens, ("input_uncached_tokens", "cache_read_tokens", "cache_write_tokens")),
        *map(_tokens, ("output_tokens", "reasoning_tokens")),
        _count("estimated", "countIf(v.tokens_estimated)"),
        _count("unknown", "countIf(v.output_tokens IS NULL)"),
    ),
    "output_tokens",
    _dimensions("recorded_at"),
)
_LATENCY: Final = Report(
    "latency",
    "milliseconds of the requests that succeeded: waiting for a call, to the first token, in all",
    "results",
    "completed_at",
    (
        _count("requests", "count()"),
        _quantile("queue_p50", "queue_ms", 0.5),
        _quantile("queue_p95", "queue_ms", 0.95),
        _quantile("first_token_p50", "first_token_ms", 0.5),
        _quantile("first_token_p95", "first_token_ms", 0.95),
        _quantile("total_p50", "total_ms", 0.5),
        _quantile("total_p95", "total_ms", 0.95),
        _quantile("total_p99", "total_ms", 0.99),
    ),
    "total_p95",
    _dimensions("completed_at"),
    "v.status = 'succeeded'",
)
_ERRORS: Final = Report(
    "errors",
    "requests that ended without an answer",
    "results",
    "completed_at",
    (
        _count("requests", "count()"),
        _count("unsuccessful", "countIf(v.status != 'succeeded')"),
        Measure("share", "countIf(v.status != 'succeeded') / count()", "share"),
        *(_count(status, f"countIf(v.status = '{status}')") for status in ("failed", "rejected", "expired")),
        _count("cancelled", "countIf(v.status = 'cancelled')"),
    ),
    "unsuccessful",
    _dimensions("completed_at"),
)

REPORTS: Final[Mapping[str, Report]] = {r.name: r for r in (_COST, _USAGE, _LATENCY, _ERRORS)}

# By what each is grouped where nobody says.
DEFAULT_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "cost": ("tenant", "model"),
    "usage": ("tenant", "model"),
    "latency": ("model", "lane"),
    "errors": ("tenant", "model"),
}


def chosen(report: Report, by: Sequence[str]) -> tuple[str, ...]:
    """`by`, each once. Raises UnknownDimension."""
    wrong = [name for name in by if name not in report.dimensions]
    if wrong:
        allowed = ", ".join(sorted(report.dimensions))
        raise UnknownDimension(f"can't group by {wrong[0]!r}: choose from {allowed}")
    return tuple(dict.fromkeys(by))


def table_of(
    report: Report, database: str, by: Sequence[str], period: Period, tenant: str | None, limit: int
) -> Statement:
    """One row a group, the largest headline first (times in their order); NULL measures are unknown."""
    keys = [f"{report.dimensions[name]} AS `by_{name}`" for name in by]
    measures = [f"{m.sql} AS `{m.name}`" for m in report.measures]
    times = [f"`by_{name}`" for name in by if name in ("hour", "day", "month")]
    order = [*times, f"`{report.headline}` DESC NULLS LAST", *(f"`by_{name}`" for name in by)]
    groups = f" GROUP BY {', '.join(f'`by_{name}`' for name in by)}" if by else ""
    sql = f"SELECT {', '.join(keys + measures)} FROM `{database}`.`{report.view}` AS v{_where(report, tenant)}{groups}"
    sql += f" ORDER BY {', '.join(order)} LIMIT {int(limit)}" if by else ""
    return Statement(sql, _parameters(period, tenant))


def series_of(
    report: Report, database: str, by: Sequence[str], period: Period, tenant: str | None
) -> Statement:
    """The headline of each group in each step: dimensions, `step` (its number from 0), `value`. Empty ones lack."""
    keys = [f"{report.dimensions[name]} AS `by_{name}`" for name in by]
    step = f"intDiv(toUnixTimestamp64Milli(v.{report.time}) - {{since:Int64}}, {{step_ms:Int64}}) AS step"
    value = f"{report.measure(report.headline).sql} AS value"
    names = ", ".join([*(f"`by_{name}`" for name in by), "step"])
    sql = f"SELECT {', '.join([*keys, step, value])} FROM `{database}`.`{report.view}` AS v{_where(report, tenant)}"
    parameters = {**_parameters(period, tenant), "step_ms": period.step_s * 1000}
    return Statement(f"{sql} GROUP BY {names} ORDER BY step", parameters)


def _where(report: Report, tenant: str | None) -> str:
    since, until = (f"fromUnixTimestamp64Milli({{{n}:Int64}}, 'UTC')" for n in ("since", "until"))
    clauses = [f"v.{report.time} >= {since}", f"v.{report.time} < {until}"]
    if report.where:
        clauses.append(report.where)
    if tenant is not None:
        clauses.append(_TENANT)
    return f" WHERE {' AND '.join(clauses)}"


def _parameters(period: Period, tenant: str | None) -> dict[str, Any]:
    given = {} if tenant is None else {"tenant": tenant}
    return {"since": period.since, "until": period.until, **given}
