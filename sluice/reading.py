"""Reading what Sluice keeps in ClickHouse, as data frames.

    from sluice.reading import Reader

    with Reader() as reader:
        spent = reader.report("cost", by=["tenant", "day"], since="30d").polars()
        slow = reader.query("SELECT request_id, total_ms FROM results WHERE total_ms > {most:UInt32}", {"most": 5000})
        print(slow.pandas())

Answers come as Arrow tables; `polars()` and `pandas()` need the packages of the extra `analysis`. Tables are the
analysts' views (docs/tables.md): times in UTC, costs in US dollars as decimals, NULL is unknown and never zero.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client as ClickHouseClient

from sinks.clickhouse import Access
from sinks.report_period import BadPeriod, moment, period
from sinks.reports import DEFAULT_BY, REPORTS, ReportName, UnknownDimension, chosen, table_of

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

__all__ = ["Answer", "BadPeriod", "Reader", "UnknownDimension"]

_TIMES = {"requests": "accepted_at", "results": "completed_at", "usage": "recorded_at"}
_MOST_ROWS = 1_000_000


class Answer:
    """What a query gave."""

    def __init__(self, table: "pyarrow.Table") -> None:
        self._table = table

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def arrow(self) -> "pyarrow.Table":
        """An Arrow table."""
        return self._table

    def polars(self) -> "polars.DataFrame":
        """A polars frame. Raises ImportError where polars isn't installed."""
        import polars

        frame = polars.from_arrow(self._table)
        assert isinstance(frame, polars.DataFrame)
        return frame

    def pandas(self) -> "pandas.DataFrame":
        """A pandas frame. Raises ImportError where pandas isn't installed."""
        return self._table.to_pandas()

    def rows(self) -> list[dict[str, Any]]:
        """Plain dictionaries, one a row."""
        rows: list[dict[str, Any]] = self._table.to_pylist()
        return rows


class Reader:
    """A connection that reads the analysts' views. Close it, or use it as a context.

    Without arguments it finds ClickHouse as the command does: by the environment (SLUICE_CLICKHOUSE_URL,
    SLUICE_CLICKHOUSE_USER ...), else the stack of `sluice up`. Every method raises clickhouse_connect's
    DatabaseError where ClickHouse refuses, and OperationalError where it doesn't answer.
    """

    def __init__(
        self,
        url: str | None = None,
        user: str | None = None,
        password: str | None = None,
        database: str | None = None,
    ) -> None:
        access = _access(url, user, password, database)
        parts = urlsplit(access.url)
        self._database = access.analytics
        self._client: ClickHouseClient = clickhouse_connect.get_client(
            interface=parts.scheme,
            host=parts.hostname or "",
            port=parts.port or (8443 if parts.scheme == "https" else 8123),
            username=access.user,
            password=access.password,
            database=self._database,
            autogenerate_session_id=False,
        )

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Answer:
        """Run a query; `{name:Type}` in it is replaced by the server from `parameters`."""
        return Answer(self._client.query_arrow(sql, parameters=dict(parameters or {}), use_strings=True))

    def report(
        self,
        name: ReportName,
        *,
        by: Sequence[str] | None = None,
        since: str | datetime = "7d",
        until: str | datetime | None = None,
        tenant: str | None = None,
        limit: int = _MOST_ROWS,
    ) -> Answer:
        """The table of `sluice report NAME`: a row a group, with the dimensions `by` and the report's measures.

        Raises UnknownDimension, BadPeriod.
        """
        report = REPORTS[name]
        names = chosen(report, DEFAULT_BY[name] if by is None else by)
        span = period(since, until, datetime.now(UTC))
        statement = table_of(report, self._database, names, span, tenant, limit)
        table = self.query(statement.sql, statement.parameters).arrow()
        return Answer(table.rename_columns([c.removeprefix("by_") for c in table.column_names]))

    def requests(self, **which: Any) -> Answer:
        """Accepted requests by the time of their acceptance. Arguments as for `results`."""
        return self._view("requests", **which)

    def usage(self, **which: Any) -> Answer:
        """Settled attempts by the time of their record; replaced rows are left out. Arguments as for `results`."""
        return self._view("usage", **which)

    def results(self, **which: Any) -> Answer:
        """Terminal results by the time of their end.

        `since` and `until` (a datetime, or as `sluice report` takes them; `7d` and now by default), `tenant`,
        `columns` (all by default), `limit` (a million by default). Raises BadPeriod; TypeError for another name.
        """
        return self._view("results", **which)

    def _view(
        self,
        view: str,
        *,
        since: str | datetime = "7d",
        until: str | datetime | None = None,
        tenant: str | None = None,
        columns: Sequence[str] = (),
        limit: int = _MOST_ROWS,
    ) -> Answer:
        now, time = datetime.now(UTC), _TIMES[view]
        end = now if until is None else moment(until, now)
        listed = ", ".join(f"`{_quotable(c)}`" for c in columns) or "*"
        wanted = [f"{time} >= {{since:DateTime64(3)}}", f"{time} < {{until:DateTime64(3)}}"]
        if tenant is not None:
            wanted.append("tenant = {tenant:String}")
        sql = f"SELECT {listed} FROM {view} WHERE {' AND '.join(wanted)} ORDER BY {time} LIMIT {int(limit)}"
        return self.query(sql, {"since": moment(since, now), "until": end, "tenant": tenant or ""})


def _quotable(column: str) -> str:
    if "`" in column or "\\" in column:
        raise ValueError(f"{column!r} is no name of a column")
    return column


def _access(url: str | None, user: str | None, password: str | None, database: str | None) -> Access:
    from streams.cli.clickhouse import ANALYST
    from streams.cli.connect import where

    at = where()
    own = at.own_clickhouse and url is None and "clickhouse_user" not in at.settings.model_fields_set
    return Access(
        url or at.clickhouse_url,
        user or (ANALYST if own else at.settings.clickhouse_user),
        at.settings.clickhouse_password.get_secret_value() if password is None else password,
        database or at.settings.clickhouse_database,
    )
