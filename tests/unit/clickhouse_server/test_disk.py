"""What the embedded engine does on a disk that gets full."""

import json
from pathlib import Path

import pytest

from streams.local.clickhouse_server import disk, errors


class _Engine:
    """An engine with one part of table `t`, which it counts at 100 bytes."""

    def __init__(self, folder: Path) -> None:
        self.part = folder / "all_1_1_0"
        self.part.mkdir()
        (self.part / "data.bin").write_bytes(bytes(90))
        (self.part / "checksums.txt").write_bytes(bytes(30))
        self.asked: list[bytes] = []
        self.fails = False

    def run(self, statement: bytes) -> bytes:
        if "system.parts" in statement.decode():
            return json.dumps(["d", "t", self.part.name, str(self.part), "100"]).encode() + b"\n"
        if self.fails and b"TABLE" in statement:
            raise errors.EngineError(errors.NOT_ENOUGH_SPACE, "no")
        self.asked.append(statement)
        return b""


@pytest.fixture
def engine(tmp_path: Path) -> _Engine:
    return _Engine(tmp_path)


@pytest.fixture
def watched(engine: _Engine, tmp_path: Path) -> disk.Disk:
    return disk.Disk(tmp_path, engine.run)


def full(monkeypatch: pytest.MonkeyPatch, is_full: bool) -> None:
    monkeypatch.setattr(disk, "LOW_BYTES", 1 << 62 if is_full else 0)
    monkeypatch.setattr(disk, "DOUBTFUL_BYTES", 1 << 62 if is_full else 0)


def test_nothing_is_inserted_or_merged_while_little_is_left(
    engine: _Engine, watched: disk.Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    full(monkeypatch, False)
    watched.look()
    watched.admit()
    full(monkeypatch, True)
    watched.look()
    with pytest.raises(errors.EngineError, match="make room on its disk") as refused:
        watched.admit()
    assert refused.value.code == errors.NOT_ENOUGH_SPACE
    watched.check(0)  # all of it is there
    full(monkeypatch, False)
    watched.look()
    watched.admit()
    assert engine.asked == [b"SYSTEM STOP MERGES", b"SYSTEM START MERGES"]


RELOAD = [b"DETACH TABLE IF EXISTS `d`.`t`", b"ATTACH TABLE IF NOT EXISTS `d`.`t`"]


@pytest.mark.parametrize("lost", ["data.bin", "checksums.txt"])
def test_a_part_that_the_disk_did_not_take_is_refused_and_its_table_loaded_anew(
    engine: _Engine, watched: disk.Disk, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    full(monkeypatch, True)
    (engine.part / lost).write_bytes(b"")
    with pytest.raises(errors.EngineError, match="didn't take what was written"):
        watched.check(0)
    assert engine.asked == RELOAD


def test_the_watch_finds_what_merges_left(
    engine: _Engine, watched: disk.Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    full(monkeypatch, True)
    (engine.part / "checksums.txt").write_bytes(b"")
    watched.look()
    assert engine.asked == [b"SYSTEM STOP MERGES", *RELOAD]


def test_nothing_is_inserted_until_a_table_could_be_loaded_anew(
    engine: _Engine, watched: disk.Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    full(monkeypatch, True)
    engine.fails = True
    (engine.part / "checksums.txt").write_bytes(b"")
    watched.look()
    full(monkeypatch, False)
    with pytest.raises(errors.EngineError, match="being loaded anew"):
        watched.admit()
    engine.fails = False
    watched.look()
    watched.admit()
    assert engine.asked == [b"SYSTEM STOP MERGES", *RELOAD, b"SYSTEM START MERGES"]
