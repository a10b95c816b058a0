"""The preflight names what a machine lacks and how to mend it."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streams.local import preflight


def texts(found: list[preflight.Finding]) -> str:
    return "\n".join(f.text for f in found)


def test_a_good_machine_passes_quickly_and_silently(tmp_path: Path) -> None:
    begun = time.monotonic()
    command = [sys.executable, "-I", "-S", preflight.__file__]
    done = subprocess.run([*command, "--venv", tmp_path, "--cache", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "missing" not in done.stderr
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("version", [(3, 7, 17), (3, 10, 14)])
def test_an_old_python_is_refused_with_a_command_that_helps(version: tuple[int, ...]) -> None:
    (finding,) = preflight.check_python(version)
    assert finding.must
    assert "make demo PYTHON=" in finding.text


def test_a_python_without_venv_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "venv" else object())
    assert "apt install python3.12-venv" in texts(preflight.check_python((3, 12, 1)))


def test_windows_is_told_where_it_works() -> None:
    assert "WSL" in texts(preflight.check_system("Windows"))
    assert preflight.check_system("Linux") == preflight.check_system("Darwin") == []


def test_a_full_disk_stops_the_start(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free / 1e9
    assert preflight.check_disk(tmp_path / "not" / "yet", free / 2) == []
    (finding,) = preflight.check_disk(tmp_path / "not" / "yet", free + 100)
    assert finding.must and "are needed" in finding.text


def test_little_memory_is_only_a_note() -> None:
    assert preflight.check_memory(8) == preflight.check_memory(None) == []
    (finding,) = preflight.check_memory(0.5)
    assert not finding.must


def test_memory_is_known_on_linux() -> None:
    assert sys.platform != "linux" or 0 < (preflight.available_memory_gb() or 0) < 1e5


def test_a_cache_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    assert preflight.check_writable(tmp_path / "new", "X") == []
    (finding,) = preflight.check_writable(Path("/proc/1/none"), "SLUICE_CACHE_DIR")
    assert finding.must and "set SLUICE_CACHE_DIR" in finding.text


def test_something_missing_makes_the_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(preflight, "OLDEST_PYTHON", (99,))
    assert preflight.main(["--venv", str(tmp_path), "--cache", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("missing: Python is ")
