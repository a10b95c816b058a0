"""Reports and the reading side over a real engine, against answers worked out from the same seed in Python."""

import asyncio
import json
import math
import random
import re
import subprocess
import sys
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sinks.clickhouse import Access, ClickHouse
from sinks.migrate import Migrator
from sluice.reading import BadPeriod, Reader, UnknownDimension
from streams.cli.connect import where
from streams.settings import child_environment, get_settings

ROOT = Path(__file__).parents[2]
SEED = 20261124
NOW = datetime.now(UTC).replace(microsecond=0)
Run = Callable[..., subprocess.CompletedProcess[str]]


def seeded() -> list[dict[str, Any]]:
    """Attempts of the last ten days, some unpriced, some failed, the last one correcting the first."""
    draw = random.Random(SEED)
    rows = []
    for n in range(400):
        at = NOW - timedelta(minutes=draw.randrange(5, 14_000))
        priced = draw.random() < 0.9
        rows.append(
            {
                "event_id": f"usage-{n}",
                "tenant": draw.choice(["acme", "borealis", "o'hara"]),
                "model": draw.choice(["small", "large"]),
                "status": draw.choice(["succeeded", "succeeded", "failed"]),
                "recorded_at": at.strftime("%Y-%m-%d %H:%M:%S.000"),
                "cost": str(Decimal(draw.randrange(1, 10**7)).scaleb(-9)) if priced else None,
                "output_tokens": draw.randrange(500),
                "corrects": "",
            }
        )
    yesterday = (NOW - timedelta(days=1)).strftime("%Y-%m-%d %H:%M:%S.000")
    rows[0] |= {"status": "unknown", "cost": "0.5", "recorded_at": yesterday}
    rows[-1] |= {key: rows[0][key] for key in ("tenant", "model", "recorded_at")} | {"corrects": "usage-0"}
    return rows


def ended(n: int) -> dict[str, Any]:
    """A result of request `n`: it takes (n + 1) * 10 ms."""
    at = NOW - timedelta(hours=1)
    end = at + timedelta(milliseconds=(n + 1) * 10)
    status = "succeeded" if n % 5 else "failed"
    shown = "%Y-%m-%d %H:%M:%S.%f"
    return {
        "event_id": f"result-{n}",
        "tenant": "acme",
        "request_id": f"r-{n}",
        "model": "small",
        "status": status,
        "error_class": "" if n % 5 else "timeout_idle",
        "accepted_at": at.strftime(shown)[:-3],
        "completed_at": end.strftime(shown)[:-3],
    }


async def fill(client: ClickHouse) -> None:
    await Migrator(client).apply()
    for table, rows in (("usage", seeded()), ("results", [ended(n) for n in range(100)])):
        lines = "\n".join(map(json.dumps, rows))
        into = f"{client.access.database}.{table} ({', '.join(rows[0])})"
        await client.command(f"INSERT INTO {into} FORMAT JSONEachRow\n{lines}")
    await client.close()


async def drop(client: ClickHouse) -> None:
    for name in (client.access.database, client.access.analytics):
        await client.command(f"DROP DATABASE IF EXISTS {name}")
    await client.close()


@pytest.fixture(scope="module")
def database(clickhouse_url: str) -> Iterator[str]:
    print(f"seed {SEED}")
    client = ClickHouse(Access(clickhouse_url, database=f"t_{uuid.uuid4().hex[:10]}"))
    asyncio.run(fill(client))
    yield client.access.database
    asyncio.run(drop(client))


@pytest.fixture
def run(clickhouse_url: str, database: str) -> Run:
    """Runs `sluice report ...` on the seeded tables."""
    env = child_environment(SLUICE_CLICKHOUSE_URL=clickhouse_url, SLUICE_CLICKHOUSE_DATABASE=database)

    def command(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        told = [sys.executable, "-m", "streams.cli.main", "report", *arguments]
        done = subprocess.run(told, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return command


@pytest.fixture
def reader(clickhouse_url: str, database: str) -> Iterator[Reader]:
    with Reader(url=clickhouse_url, user="analyst", password="", database=database) as reader:
        yield reader


def spent(since: datetime) -> dict[tuple[str, str], tuple[Decimal, int, int]]:
    """Cost, attempts and those without a price by tenant and model, the replaced row left out."""
    sums: dict[tuple[str, str], tuple[Decimal, int, int]] = defaultdict(lambda: (Decimal(0), 0, 0))
    for row in seeded()[1:]:
        if row["recorded_at"] < since.strftime("%Y-%m-%d %H:%M:%S.000"):
            continue
        cost, attempts, unpriced = sums[row["tenant"], row["model"]]
        known = row["cost"] is not None
        sums[row["tenant"], row["model"]] = (
            cost + (Decimal(row["cost"]) if known else 0),
            attempts + 1,
            unpriced + (not known),
        )
    return sums


def test_cost_is_what_was_spent_and_a_replaced_row_counts_once(run: Run) -> None:
    since = NOW - timedelta(days=5)
    done = run("cost", "--by", "tenant,model", "--since", since.isoformat(), "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    found = {(r["tenant"], r["model"]): (r["cost"], r["attempts"], r["unpriced"]) for r in rows}
    wanted = spent(since)
    assert found.keys() == wanted.keys()
    for group, (cost, attempts, unpriced) in wanted.items():
        assert found[group][1:] == (attempts, unpriced)
        assert math.isclose(found[group][0], cost, abs_tol=1e-12), group
    assert [r["cost"] for r in rows] == sorted((r["cost"] for r in rows), reverse=True)


def test_a_table_has_totals_bars_and_what_is_unknown(run: Run, tmp_path: Path) -> None:
    shown = run("cost", "--since", "30d", "--tenant", "o'hara").stdout
    wanted = {k: v for k, v in spent(NOW - timedelta(days=30)).items() if k[0] == "o'hara"}
    [total] = [line.split() for line in shown.splitlines() if line.strip().startswith("total")]
    cost = sum((v[0] for v in wanted.values()), Decimal(0))
    assert total[1:3] == [f"{cost:,.4f}", str(sum(v[1] for v in wanted.values()))]
    assert f"{sum(v[2] for v in wanted.values())} attempts have no known cost" in shown
    assert any(bar in shown for bar in "▂▃▄▅▆▇█")
    csv = run("cost", "--since", "30d", "--csv", "--by", "day").stdout.splitlines()
    assert csv[0] == "day,cost,attempts,priced,unpriced,cost_of_failures"
    assert csv[1:] == sorted(csv[1:]) and sum(int(line.split(",")[2]) for line in csv[1:]) == 399
    file = tmp_path / "cost.html"
    run("cost", "--since", "30d", "--html", str(file))
    assert "<svg" in file.read_text() and "borealis" in file.read_text()


def test_latency_and_errors_count_requests(run: Run) -> None:
    [latency] = [json.loads(x) for x in run("latency", "--by", "model", "--json").stdout.splitlines()]
    ms = sorted((n + 1) * 10 for n in range(100) if n % 5)
    assert latency["requests"] == 80 and latency["first_token_p50"] is None
    assert ms[39] <= latency["total_p50"] <= ms[40] and ms[75] <= latency["total_p95"] <= ms[76]
    rows = [json.loads(x) for x in run("errors", "--by", "error_class", "--json").stdout.splitlines()]
    assert {r["error_class"]: (r["requests"], r["unsuccessful"]) for r in rows} == {
        "": (80, 0),
        "timeout_idle": (20, 20),
    }


def test_what_is_asked_wrongly_is_told(run: Run) -> None:
    assert "can't group by 'colour'" in run("cost", "--by", "colour", code=3).stderr
    assert "no time" in run("cost", "--since", "lately", code=3).stderr
    assert (
        "nothing lies between" in run("cost", "--until", "2020-01-01", "--since", "2019-12-01", code=1).stderr
    )
    assert "choose one" in run("cost", "--csv", "--json", code=2).stderr


def test_the_example_of_the_documentation_runs(
    clickhouse_url: str, database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [example] = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "reports.md").read_text(), re.M | re.S)
    monkeypatch.setenv("SLUICE_CLICKHOUSE_URL", clickhouse_url)
    monkeypatch.setenv("SLUICE_CLICKHOUSE_DATABASE", database)
    for cached in (where, get_settings):
        cached.cache_clear()
    exec(example, {})
    for cached in (where, get_settings):
        cached.cache_clear()
    assert "borealis" in capsys.readouterr().out


def test_frames_hold_the_same_figures(reader: Reader) -> None:
    frame = reader.report("cost", by=["tenant"], since="30d").polars()
    wanted: dict[str, Decimal] = defaultdict(Decimal)
    for (tenant, _), (cost, _, _) in spent(NOW - timedelta(days=30)).items():
        wanted[tenant] += cost
    assert dict(zip(frame["tenant"], frame["cost"], strict=True)) == wanted
    slow = reader.query("SELECT request_id FROM results WHERE total_ms >= {most:UInt32}", {"most": 1000})
    assert slow.pandas()["request_id"].tolist() == ["r-99"] and slow.rows() == [{"request_id": "r-99"}]
    usage = reader.usage(since="30d", tenant="acme", columns=["event_id", "cost", "recorded_at"])
    assert len(usage) == sum(r["tenant"] == "acme" for r in seeded()[1:])
    assert str(usage.arrow().schema.field("recorded_at").type) == "timestamp[ms, tz=UTC]"
    assert len(reader.results(since=NOW - timedelta(days=1))) == 100
    with pytest.raises(BadPeriod):
        reader.results(since="lately")
    with pytest.raises(UnknownDimension):
        reader.report("cost", by=["colour"])
