"""The embedded ClickHouse on a disk that doesn't take what is written: what it told was kept is there."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.chaos.sink_rig import SmallDisk


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[SmallDisk]:
    engine = SmallDisk(tmp_path / "engine")
    assert engine.mounts, "this test mounts a small disk of its own: allow `unshare -rm` and mounts of tmpfs"
    engine.start()
    yield engine
    engine.kill()


@pytest.fixture
def http(engine: SmallDisk) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=engine.url, timeout=30, trust_env=False) as http:
        yield http


def ask(http: httpx.Client, statement: str) -> str:
    answer = http.post("/", content=statement)
    assert not answer.is_error, answer.text
    return answer.text.strip()


def empty_the_merged_part(engine: SmallDisk, http: httpx.Client) -> None:
    """Leave of the newest merge what a full disk leaves of it."""
    ask(http, "OPTIMIZE TABLE t FINAL")
    path = ask(http, "SELECT path FROM system.parts WHERE active AND table = 't' AND level > 0")
    folder = Path(f"/proc/{engine.pid}/root{path}")
    files = [file for file in folder.iterdir() if file.name != "data.bin"]
    subprocess.run(["truncate", "--size=0", *map(str, files)], check=True)


def test_what_a_merge_lost_to_a_full_disk_comes_back(engine: SmallDisk, http: httpx.Client) -> None:
    ask(http, "CREATE TABLE t (n UInt64, text String) ENGINE = MergeTree ORDER BY n")
    inserted, deadline = 0, time.monotonic() + 60
    while not seen(engine):  # what is damaged long after it was written isn't looked for
        assert time.monotonic() < deadline, "the damage wasn't seen"
        for _ in range(3):
            ask(http, f"INSERT INTO t SELECT number + {inserted}, randomString(100) FROM numbers(1000)")
            inserted += 1000
        empty_the_merged_part(engine, http)
        until = time.monotonic() + 3
        while not seen(engine) and time.monotonic() < until:
            pass
    while (answer := http.post("/", content="SELECT count(), sum(length(text)), uniqExact(n) FROM t")).is_error:
        assert time.monotonic() < deadline, answer.text
    assert answer.text.split() == [str(inserted), str(inserted * 100), str(inserted)]
    ask(http, "INSERT INTO t VALUES (1, 'goes on')")


def seen(engine: SmallDisk) -> bool:
    return "isn't whole" in engine.path.with_suffix(".log").read_text()
