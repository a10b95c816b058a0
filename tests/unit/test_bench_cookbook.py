"""The benchmark of the cookbook measures what it says: questions about usage, on rows that fill its table."""

import re

import pytest

from sinks.tables import USAGE
from tests.benchmarks import bench_cookbook as bench
from tests.benchmarks.autumn_rows import insert


def test_the_questions_are_those_about_usage_alone() -> None:
    found = bench.questions()
    assert len(found) >= 12 and "Which users of a tenant spend most?" in found
    assert not any("analytics.results" in sql or "analytics.decisions" in sql for sql in found.values())


def test_rows_fill_the_columns_of_usage_block_by_block() -> None:
    statement = insert("db", 400, 200, 1000)
    listed = re.search(r"db\.usage \((.*?)\) SELECT", statement)
    assert listed and "numbers(400, 200)" in statement
    names = {name.strip("` ") for name in listed[1].split(",")}
    assert {"tenant", "recorded_at", "cost", "corrects", "metadata"} <= names <= set(USAGE.columns)


def test_what_takes_too_long_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    measured = bench.Measured(10, 2_000, 300, {"quick": 12.5, "slow": 300.1}, {"quick": 9.0, "slow": 500.0})
    told = bench.report(measured)
    assert (told["cookbook_p95_ms"], told["missed"], told["questions"]) == (300.1, {"slow": 300.1}, 2)
    assert re.search(r"300\.1 ms.*slow  MISSED", capsys.readouterr().out)
