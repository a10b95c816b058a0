"""The benchmark measures what it says: all rows stored, all calls in flight, numbers where numbers belong."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.benchmarks import bench_pipeline as bench
from tests.benchmarks.bench_pipeline import Sizes


def test_sizes_are_options_with_the_issue_s_sizes_as_defaults() -> None:
    assert Sizes.of([]) == Sizes() == Sizes(backlog=12_000, in_flight=10_000)
    assert Sizes.of(["--backlog", "7", "--in-flight", "5", "--half-load-s", "3", "--bare", "2", "--warm-up", "1"]) == (
        Sizes(warm_up=1, backlog=7, half_load_s=3, in_flight=5, bare=2)
    )


def test_memory_of_calls_in_flight_is_told_only_where_they_all_were() -> None:
    assert bench.memory_in_flight(330.5, 10_000, 10_000)["inflight_10k_rss_mb"] == 330.5
    short = bench.memory_in_flight(330.5, 9_999, 10_000)
    assert (short["inflight_10k_rss_mb"], short["most_in_flight"]) == (None, 9_999)


def test_the_peak_is_one_number_with_the_stages_beside_it() -> None:
    workers: Any = {"call": SimpleNamespace(peak_rss_mb=93.4), "sink": SimpleNamespace(peak_rss_mb=186.6)}
    assert bench.peaks(workers) == {"peak_rss_mb": 187, "peak_rss_mb_by_stage": {"call": 93, "sink": 187}}


class _Store:
    """ClickHouse as the sink fills it: each look finds one more of ten requests' rows."""

    looks: int = 0

    def __init__(self, url: str, database: str) -> None:
        pass

    async def rows(self, sql: str) -> list[dict[str, Any]]:
        assert "startsWith(request_id, 'run-')" in sql
        rows = 2 if "FROM audit" in sql or "FROM attempts" in sql else 1
        if "FROM attempts" in sql:
            _Store.looks += 1
        return [{"n": min(_Store.looks, 10) * rows}]

    async def close(self) -> None:
        pass


async def test_cpu_is_charged_once_every_row_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(_: float) -> None:
        pass

    monkeypatch.setattr(bench, "Store", _Store)
    monkeypatch.setattr("asyncio.sleep", at_once)
    rig: Any = SimpleNamespace(endpoints=SimpleNamespace(clickhouse_url="u"))
    _Store.looks = 0
    await bench.stored(rig, {f"run-{n}" for n in range(10)})
    assert _Store.looks >= 10
    _Store.looks = 0
    with pytest.raises(TimeoutError, match=r"'attempts': 1[0-9]"):
        await bench.stored(rig, {f"run-{n}" for n in range(10)}, within_s=-1)
