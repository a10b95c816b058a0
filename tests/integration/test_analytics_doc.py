"""The queries of docs/analytics.md, as an analyst would copy them."""

import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from sinks.clickhouse import Access, ClickHouse
from sinks.migrate import Migrator
from sinks.tables import TABLES

DOCUMENT = (Path(__file__).parents[2] / "docs" / "analytics.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.fixture
async def database(clickhouse_url: str) -> AsyncIterator[str]:
    client = ClickHouse(Access(clickhouse_url, database=f"t_{uuid.uuid4().hex[:10]}"))
    await Migrator(client).apply()
    yield client.access.database
    for name in (client.access.database, client.access.analytics):
        await client.command(f"DROP DATABASE IF EXISTS {name}")
    await client.close()


def test_the_snippets_run_as_the_analyst(
    clickhouse_url: str, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    [program] = blocks("python")
    port = urlsplit(clickhouse_url).port
    views = f"{database}_analytics"
    here = program.replace("8123", str(port)).replace('database="analytics"', f"database={views!r}")
    assert f"port={port}" in here and 'username="analyst"' in here and views in here
    scope: dict[str, Any] = {}
    exec(here, scope)
    assert capsys.readouterr().out.endswith(" 0\n")
    queries = [*blocks("sql"), *re.findall(r'^    sluice query "([^"]+)"', DOCUMENT, re.MULTILINE)]
    assert len(queries) == 3
    for query in queries:
        assert "FROM analytics." in query
        assert scope["client"].query(query.replace("analytics.", f"{views}.")).row_count == 0
    scope["client"].close()


def test_every_table_describes_itself_and_nothing_can_be_written(clickhouse_url: str, database: str) -> None:
    port = urlsplit(clickhouse_url).port
    client = clickhouse_connect.get_client(host="127.0.0.1", port=port, username="analyst", database=database)
    told = re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE)
    assert {"results", "usage", "decisions", "config_versions"} <= set(told)
    for table in (*TABLES, *(f"{database}_analytics.{view}" for view in told)):
        described = client.query(f"DESCRIBE TABLE {table}")
        comments = described.column_names.index("comment")
        assert all(row[comments] for row in described.result_rows), f"a column of {table} has no comment"
    with pytest.raises(DatabaseError):
        client.command(f"DROP TABLE {database}.results")
    client.close()
