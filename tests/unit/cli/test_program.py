"""Commands that are printed for the user to repeat work in the shell that he has."""

import sys
from pathlib import Path

import pytest

from streams.cli.program import program


def executable(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "sluice"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nonexistent")
    return tmp_path


def test_an_environment_that_is_not_activated_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(executable(here / ".venv" / "bin")), "demo"])
    assert program() == ".venv/bin/sluice"


def test_one_that_the_shell_finds_has_its_bare_name(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = executable(here / "bin")
    monkeypatch.setenv("PATH", str(here / "bin"))
    for started in (str(ours), "sluice"):
        monkeypatch.setattr(sys, "argv", [started, "up"])
        assert program() == "sluice"


def test_another_one_in_the_shell_s_path_is_not_taken_for_this(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable(here / "other")
    monkeypatch.setenv("PATH", str(here / "other"))
    monkeypatch.setattr(sys, "argv", [str(executable(here / "my tools")), "up"])
    assert program() == "'my tools/sluice'"


def test_elsewhere_the_whole_path_is_shown(
    here: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = executable(tmp_path_factory.mktemp("far"))
    monkeypatch.setattr(sys, "argv", [str(far), "up"])
    assert program() == str(far)


def test_a_module_is_repeated_as_a_module(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/streams/cli/main.py", "up"])
    assert program() == f"{sys.executable} -m streams.cli.main"
