"""A fetched directory is complete or absent, and damage is noticed."""

import hashlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from streams.local import stored
from streams.local.stored import Damaged, obtain, verify

CONTENT = {"a.jar": b"alpha", "lib/b.jar": b"beta"}


def fill(into: Path) -> None:
    for name, content in CONTENT.items():
        (into / name).parent.mkdir(exist_ok=True)
        (into / name).write_bytes(content)


def content_of(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in CONTENT}


def never(into: Path) -> None:
    raise AssertionError("it was fetched once more")


def quiet(message: str) -> None:
    """Progress that nobody reads."""


def test_what_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    first = obtain(tmp_path / "kafka", fill, quiet)
    assert obtain(tmp_path / "kafka", never, quiet) == first
    assert content_of(first) == CONTENT


def test_a_fetch_that_fails_leaves_nothing_that_looks_complete(tmp_path: Path) -> None:
    def half(into: Path) -> None:
        (into / "a.jar").write_bytes(b"alp")
        raise ConnectionError("cut")

    with pytest.raises(ConnectionError):
        obtain(tmp_path / "kafka", half, quiet)
    assert [p.name for p in tmp_path.iterdir()] == [".kafka.lock"]
    assert content_of(obtain(tmp_path / "kafka", fill, quiet)) == CONTENT


def test_the_leavings_of_a_killed_fetch_are_not_mixed_in(tmp_path: Path) -> None:
    (tmp_path / ".kafka.partial").mkdir()
    (tmp_path / ".kafka.partial" / "stray.jar").write_bytes(b"half")
    target = obtain(tmp_path / "kafka", fill, quiet)
    assert not (target / "stray.jar").exists()


def rewrite(directory: Path) -> None:
    (directory / "a.jar").write_bytes(b"ALPHA")  # same size, another time


def truncate(directory: Path) -> None:
    os.truncate(directory / "lib/b.jar", 1)


def remove(directory: Path) -> None:
    (directory / "lib/b.jar").unlink()


def forget(directory: Path) -> None:
    (directory / "manifest.json").unlink()


def garble(directory: Path) -> None:
    (directory / "manifest.json").write_text("{")


@pytest.mark.parametrize("harm", [rewrite, truncate, remove, forget, garble])
def test_damage_is_told_and_mended(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    target = obtain(tmp_path / "kafka", fill, quiet)
    harm(target)
    said: list[str] = []
    obtain(tmp_path / "kafka", fill, said.append)
    assert content_of(target) == CONTENT
    assert len(said) == 1 and "is damaged" in said[0]


def test_a_touched_but_equal_file_is_accepted(tmp_path: Path) -> None:
    target = obtain(tmp_path / "kafka", fill, quiet)
    os.utime(target / "a.jar", (1, 1))
    assert obtain(tmp_path / "kafka", never, quiet) == target


def test_a_later_check_reads_no_unchanged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    obtain(tmp_path / "kafka", fill, quiet)

    def read(path: Path) -> str:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(stored, "_sha256", read)
    assert obtain(tmp_path / "kafka", never, quiet).is_dir()


def test_two_that_want_the_same_directory_fetch_it_once(tmp_path: Path) -> None:
    fetches: list[float] = []
    together = threading.Barrier(2)

    def slow(into: Path) -> None:
        fetches.append(time.monotonic())
        fill(into)

    def want() -> Path:
        together.wait()
        return obtain(tmp_path / "kafka", slow, quiet)

    with ThreadPoolExecutor(2) as pool:
        assert len({f.result() for f in [pool.submit(want), pool.submit(want)]}) == 1
    assert len(fetches) == 1


DIGESTS = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}


def test_exactly_the_promised_files_are_right(tmp_path: Path) -> None:
    fill(tmp_path)
    verify(tmp_path, DIGESTS)
    (tmp_path / "a.jar").write_bytes(b"alphA")
    with pytest.raises(Damaged, match=r"checksum of a\.jar"):
        verify(tmp_path, DIGESTS)


def test_a_missing_file_and_one_too_many_are_told(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "c.jar").write_bytes(b"")
    with pytest.raises(Damaged, match=r"c\.jar was not expected"):
        verify(tmp_path, DIGESTS)
    (tmp_path / "a.jar").unlink()
    with pytest.raises(Damaged, match=r"a\.jar is missing"):
        verify(tmp_path, DIGESTS)
