"""Directories of fetched files: complete or absent, never half there, and checked at each use.

A directory is filled under another name and renamed when its checksums hold. Its manifest keeps size, time
and SHA-256 of each file; a later use compares size and time, and reads only what differs.
"""

import contextlib
import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

Fetch = Callable[[Path], None]
_MANIFEST = "manifest.json"


class Damaged(RuntimeError):
    """A file differs from what its checksum promises, or is missing."""


def obtain(target: Path, fetch: Fetch, progress: Callable[[str], None]) -> Path:
    """`target`, filled by `fetch(empty directory)` unless it is there already and unharmed.

    Safe against crashes and against other processes that want the same directory.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _exclusive(target.parent / f".{target.name}.lock"):
        if target.exists():
            harm = _harm(target)
            if harm is None:
                return target
            progress(f"{target} is damaged ({harm}): fetching it again")
        partial = target.parent / f".{target.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            fetch(partial)
            _record(partial)
            shutil.rmtree(target, ignore_errors=True)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def empty(directory: Path) -> None:
    """Remove everything in the directory."""
    shutil.rmtree(directory)
    directory.mkdir()


def verify(directory: Path, digests: Mapping[str, str]) -> None:
    """Raise Damaged unless the directory's files are exactly those of `digests` (name to SHA-256 in hex)."""
    found = {str(p.relative_to(directory)) for p in _files(directory)}
    if missing := digests.keys() - found:
        raise Damaged(f"{min(missing)} is missing")
    if extra := found - digests.keys():
        raise Damaged(f"{min(extra)} was not expected")
    for name, digest in digests.items():
        if _sha256(directory / name) != digest:
            raise Damaged(f"the checksum of {name} differs")


def _record(directory: Path) -> None:
    entries = {}
    for path in _files(directory):
        stat = path.stat()
        entries[str(path.relative_to(directory))] = [stat.st_size, stat.st_mtime_ns, _sha256(path)]
    (directory / _MANIFEST).write_text(json.dumps(entries))


def _harm(directory: Path) -> str | None:
    """What is wrong with a recorded directory, None if nothing."""
    try:
        entries: dict[str, tuple[int, int, str]] = json.loads((directory / _MANIFEST).read_text())
    except (FileNotFoundError, ValueError):
        return "it has no readable manifest"
    for name, (size, mtime_ns, digest) in entries.items():
        path = directory / name
        if not path.is_file():
            return f"{name} is missing"
        stat = path.stat()
        if (stat.st_size, stat.st_mtime_ns) != (size, mtime_ns) and _sha256(path) != digest:
            return f"{name} has changed"
    return None


def _files(directory: Path) -> list[Path]:
    return [p for p in sorted(directory.rglob("*")) if p.is_file() and p.name != _MANIFEST]


def _sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


@contextlib.contextmanager
def _exclusive(lock: Path) -> Iterator[None]:
    with lock.open("ab") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield
