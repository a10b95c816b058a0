"""The disk under the embedded engine: what it must have left for inserts and merges, and what it failed to keep.

chdb takes a write that the disk refused for done (seen with chdb-core 26.9: fourteen writes of one part failed with
ENOSPC, the INSERT was acknowledged, the part's files are empty). So nothing is written while little is left, and what
was written while the disk got full is compared with what is there. A ClickHouse server tells such errors by itself.
"""

import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from streams.local.clickhouse_server import errors, sql

log = logging.getLogger(__name__)

LOW_BYTES: Final = 128 << 20
"""With less than this left nothing is inserted or merged: many times what the largest chunk of the sink takes."""

_LOOK_EVERY_S: Final = 0.2
_WRITTEN_SINCE: Final = b"""
    SELECT database, table, name, path, bytes_on_disk FROM system.parts
    WHERE active AND modification_time >= toDateTime(%d)
"""
_Part = tuple[str, str, str]
"""Database, table and name."""


class Disk:
    """Keeps inserts and merges from a full disk, and takes out the parts that it doesn't hold.

    `run` has the engine run a statement and returns its result as JSONCompactEachRow. Safe for many threads.
    """

    def __init__(self, path: Path, run: Callable[[bytes], bytes]) -> None:
        self._path = path
        self._run = run
        self._paused = False
        self._broken: set[_Part] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._watch = threading.Thread(target=self._keep_looking, name="disk", daemon=True)

    def start(self) -> None:
        """Begin to watch, in a thread of its own."""
        self._watch.start()

    def close(self) -> None:
        """End the watch."""
        self._closed.set()
        self._watch.join()

    def admit(self) -> None:
        """Raise NOT_ENOUGH_SPACE where nothing may be inserted now."""
        if self._low() or self._broken:
            raise errors.EngineError(errors.NOT_ENOUGH_SPACE, self._refusal())

    def check(self, began: float) -> None:
        """Where the disk has got low: raise NOT_ENOUGH_SPACE if it lacks anything written since `began` (Unix time).

        What merges wrote meanwhile counts, too. Parts that aren't whole are taken out as soon as there is room: until
        then queries of them fail, and afterwards their rows are missing as if they had never been inserted.
        """
        if not self._low():
            return
        if found := self._incomplete(began - 1):
            with self._lock:
                self._broken |= found
            raise errors.EngineError(
                errors.NOT_ENOUGH_SPACE, f"The disk didn't take what was written. {self._refusal()}"
            )

    def look(self) -> None:
        """Stop merges where the disk has got low; mend and let them go on where it is no longer."""
        low = self._low()
        if self._broken and not low:
            self._take_out()
        if low == self._paused:
            return
        self._run(b"SYSTEM STOP MERGES" if low else b"SYSTEM START MERGES")
        self._paused = low
        what = "no inserts and no merges" if low else "inserts and merges go on"
        log.warning("%s has %d MiB left: %s", self._path, self._free() >> 20, what)

    def _take_out(self) -> None:
        with self._lock:
            self._broken &= {(d, t, n) for d, t, n, *_ in self._parts(0)}  # others were dropped meanwhile
            for part in sorted(self._broken):
                database, table, name = part
                where = sql.identifier(database) + b"." + sql.identifier(table)
                self._run(b"ALTER TABLE %s DETACH PART %s" % (where, sql.quote(name)))
                log.error(
                    "part %s of %s.%s was written while the disk was full, and is taken out: "
                    "what was acknowledged of it is told and repaired by sluice reconcile", name, database, table
                )  # fmt: skip
                self._broken.discard(part)

    def _keep_looking(self) -> None:
        while not self._closed.wait(_LOOK_EVERY_S):
            try:
                self.look()
            except errors.EngineError as error:  # it is tried again, and until then nothing is inserted or merged
                log.error("the disk's watch: %s", error)

    def _free(self) -> int:
        found = os.statvfs(self._path)
        return found.f_bavail * found.f_frsize

    def _low(self) -> bool:
        return self._free() < LOW_BYTES

    def _refusal(self) -> str:
        left, needed = self._free() >> 20, LOW_BYTES >> 20
        return f"{self._path} has {left} MiB left and needs {needed} MiB: make room on its disk"

    def _incomplete(self, since: float) -> set[_Part]:
        return {
            (database, table, name)
            for database, table, name, path, size in self._parts(since)
            if not _whole(Path(path), int(size))
        }

    def _parts(self, since: float) -> list[Any]:
        return [json.loads(line) for line in self._run(_WRITTEN_SINCE % since).splitlines()]


def _whole(folder: Path, size: int) -> bool:
    """True if the files of a part amount to what the engine counts, and the last of them was written."""
    try:
        sizes = {file: file.stat().st_size for file in folder.rglob("*") if file.is_file()}
    except FileNotFoundError:
        return True  # merged away meanwhile
    return not sizes or (sum(sizes.values()) >= size and sizes.get(folder / "checksums.txt", 0) > 0)
