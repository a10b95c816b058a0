"""Pacing: quiet traffic isn't delayed, busy traffic is gathered."""

from types import SimpleNamespace
from typing import Any

from streams.fetch_pace import GATHER_BYTES, GATHER_MS, QUIET_MS, pace_fetches
from streams.outbox.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_quiet_partition_begins_at_once() -> None:
    clock = Clock()
    pace = Pace(100, clock)
    assert pace.wait_s(0) == 0
    pace.begin(0)
    clock.now += 1
    assert pace.wait_s(0) == 0


def test_busy_partitions_share_the_budget() -> None:
    clock = Clock()
    pace = Pace(100, clock)
    began = 0
    due = dict.fromkeys(range(4), 0.0)
    for step in range(1000):
        clock.now = step / 1000
        for partition, at in due.items():
            if at <= clock.now and pace.wait_s(partition) == 0:
                pace.begin(partition)
                began += 1
                due[partition] = clock.now + 0.001
    assert 95 <= began <= 110


def test_one_busy_partition_has_the_whole_budget() -> None:
    clock = Clock()
    pace = Pace(100, clock)
    pace.begin(0)
    assert 0.009 < pace.wait_s(0) <= 0.01
    pace.begin(1)
    assert 0.019 < pace.wait_s(0) <= 0.02


async def test_a_fetch_gathers_after_one_that_brought_records() -> None:
    brings = [False, True, True, False]
    seen: list[tuple[int, int]] = []
    fetcher = SimpleNamespace()

    async def fetch(*_: Any) -> bool:
        seen.append((fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms))
        return brings.pop(0)

    fetcher._proc_fetch_request = fetch
    pace_fetches(SimpleNamespace(_fetcher=fetcher))  # type: ignore[arg-type]
    for _ in range(4):
        await fetcher._proc_fetch_request(None, 1, None)
    quiet, gathering = (1, QUIET_MS), (GATHER_BYTES, GATHER_MS)
    assert seen == [quiet, quiet, gathering, gathering]
    assert (fetcher._fetch_min_bytes, fetcher._fetch_max_wait_ms) == quiet
