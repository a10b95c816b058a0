"""Checks what a machine needs before anything is installed: `python3 streams/local/preflight.py`.

Uses the standard library only and no recent syntax, so that an old Python can say that it is too old. Prints
one line for each finding, with how to mend it; exits with 1 when something that must be there is missing.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

OLDEST_PYTHON = (3, 11)
ENVIRONMENT_GB = 2.0
JAVA_PARTS_GB = 0.5
DATA_GB = 1.0  # of a few runs
MEMORY_GB = 2.5  # broker 0.5, registry 0.3, model 0.6, ClickHouse 0.5, workers the rest


class Finding(NamedTuple):
    """Something missing and how to mend it. Where `must` is false, the stack may still work."""

    must: bool
    text: str


def check_system(system: str) -> list[Finding]:
    """Processes are held by Unix's sessions and file locks."""
    if system in ("Linux", "Darwin"):
        return []
    return [Finding(True, f"the system is {system}: use Linux, macOS, or WSL 2 on Windows")]


def check_python(version: tuple[int, ...]) -> list[Finding]:
    """The version, and the modules that some systems package apart from Python."""
    if version < OLDEST_PYTHON:
        shown = ".".join(str(n) for n in version[:3])
        advice = "install 3.11 or newer and name it, as in `make demo PYTHON=python3.12`"
        return [Finding(True, f"Python is {shown}, too old: {advice}")]
    return [
        Finding(True, f"Python lacks its module {module}: apt install python{version[0]}.{version[1]}-venv")
        for module in ("venv", "ensurepip")
        if importlib.util.find_spec(module) is None
    ]


def check_libraries(names: tuple[str, ...]) -> list[Finding]:
    """Shared libraries that Python packages load but don't bring along."""
    found = []
    for name in names:
        try:
            ctypes.CDLL(name)
        except OSError:
            text = f"{name}, which the model server needs, is missing: apt install libgomp1 (dnf: libgomp)"
            found.append(Finding(True, text))
    return found


def check_disk(directory: Path, needed_gb: float) -> list[Finding]:
    """Free space where `directory` is or will be."""
    free = shutil.disk_usage(_nearest(directory)).free / 1e9
    if free >= needed_gb:
        return []
    return [Finding(True, f"{free:.1f} GB are free for {directory}, {needed_gb:.1f} are needed: free some")]


def check_memory(available_gb: float | None, needed_gb: float = MEMORY_GB) -> list[Finding]:
    """Memory that programs can still get; a warning only, since a system may swap."""
    if available_gb is None or available_gb >= needed_gb:
        return []
    free, use = f"{available_gb:.1f} GB of memory are free", f"all parts together use {needed_gb:.1f}"
    return [Finding(False, f"{free}, {use}: end other programs")]


def check_writable(directory: Path, setting: str) -> list[Finding]:
    """That files can be made where `directory` is or will be."""
    place = _nearest(directory)
    try:
        with tempfile.TemporaryFile(dir=place):
            return []
    except OSError as error:
        text = f"{place} can't be written ({error.strerror}): change its owner, or set {setting}"
        return [Finding(True, text)]


def available_memory_gb() -> float | None:
    """Memory that programs can get, in GB, within the container's limit; None where it can't be told."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        (free,) = (int(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError):  # not Linux
        return None
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):  # no limit
        return free
    return min(free, (limit - used) / 1e9)


def findings(venv: Path, cache: Path) -> list[Finding]:
    """Everything that is wrong for an environment in `venv` and Java parts in `cache`."""
    found = check_system(platform.system()) + check_python(tuple(sys.version_info[:3]))
    found += check_libraries(("libgomp.so.1",) if platform.system() == "Linux" else ())
    space: dict[int, tuple[Path, float]] = {}  # directories of one file system share its space
    for directory, size in ((venv, ENVIRONMENT_GB), (cache, JAVA_PARTS_GB)):
        nearest = _nearest(directory)
        needed = DATA_GB + (size if nearest != directory else 0)
        device = nearest.stat().st_dev
        space[device] = (directory, space.get(device, (directory, 0.0))[1] + needed)
    for directory, needed in space.values():
        found += check_disk(directory, needed)
    found += check_memory(available_memory_gb())
    found += check_writable(venv, "VENV, as in `make demo VENV=directory`")
    return found + check_writable(cache, "SLUICE_CACHE_DIR in the environment")


def _nearest(directory: Path) -> Path:
    """The directory itself or the nearest one above it that exists."""
    return next(place for place in (directory, *directory.parents) if place.is_dir())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="preflight.py", description="Checks what this machine lacks.")
    parser.add_argument("--venv", type=Path, default=Path(".venv"), help="the environment's directory")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/sluice"), help="where Java parts go")
    given = parser.parse_args(arguments)
    found = findings(given.venv.absolute(), given.cache.expanduser().absolute())
    for finding in found:
        print(f"{'missing' if finding.must else 'note'}: {finding.text}", file=sys.stderr)
    return 1 if any(finding.must for finding in found) else 0


if __name__ == "__main__":
    sys.exit(main())
