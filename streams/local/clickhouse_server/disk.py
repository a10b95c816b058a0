"""The disk under the embedded engine: what it must have left for inserts and merges, and what it failed to keep.

chdb takes a write that the disk refused for done (seen with chdb-core 26.9: fourteen writes of one part failed with
ENOSPC, the INSERT was acknowledged, the part's files are empty). So nothing is written while little is left, and while
not much is left what was written is compared with what is there. A ClickHouse server tells such errors by itself.

    left                  inserts     merges      parts that were written
    2 GiB or more         go          go          are believed
    less                  go          go          are compared with their files, after each insert and all the time
    less than 128 MiB     refused     stopped     the same

A table with a part that isn't whole is loaded anew: the engine then sets that part aside, and takes back those of which
it was merged. So does the next start of the process, if it ends before.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from streams.local.clickhouse_server import errors, sql

log = logging.getLogger(__name__)

LOW_BYTES: Final = 128 << 20
"""With less than this left nothing is inserted or merged: many times what the largest chunk of the sink takes."""
DOUBTFUL_BYTES: Final = 2 << 30
"""With less than this left parts are compared: more than anybody fills and frees again while one is written."""

_LOOK_EVERY_S: Final = 0.2
_PATIENCE_S: Final = 5.0
_WRITTEN_SINCE: Final = b"""
    SELECT database, table, name, path, bytes_on_disk FROM system.parts
    WHERE active AND modification_time >= toDateTime(%d)
"""
_Table = tuple[str, str]


class Disk:
    """Keeps inserts and merges from a full disk, and sets the parts aside that it doesn't hold.

    `run` has the engine run a statement and returns its result as JSONCompactEachRow. Safe for many threads.
    """

    def __init__(self, path: Path, run: Callable[[bytes], bytes]) -> None:
        self._path = path
        self._run = run
        self._stopped = False
        self._broken: set[_Table] = set()
        self._lock = threading.RLock()
        self._compared = time.time()  # until when the watch has compared, Unix time
        self._closed = threading.Event()
        self._watch = threading.Thread(target=self._keep_looking, name="disk", daemon=True)

    def start(self) -> None:
        """Begin to watch, in a thread of its own."""
        self._watch.start()

    def close(self) -> None:
        """End the watch."""
        self._closed.set()
        if self._watch.ident is not None:
            self._watch.join(_PATIENCE_S)

    def admit(self) -> None:
        """Raise NOT_ENOUGH_SPACE where nothing may be inserted now."""
        if self._low() or self._broken:
            raise errors.EngineError(errors.NOT_ENOUGH_SPACE, self._refusal())

    def check(self, began: float) -> None:
        """Raise NOT_ENOUGH_SPACE if the disk lacks anything of what was written since `began` (Unix time).

        To be called while what the statement needs of the disk is still there.
        """
        if self._doubtful() and self._mend(began):
            message = f"The disk didn't take what was written. {self._refusal()}"
            raise errors.EngineError(errors.NOT_ENOUGH_SPACE, message)

    def look(self) -> None:
        """Stop merges where the disk has got low, compare what was written, and let merges go on when there is room."""
        low = self._low()
        if low:  # each time: tables may have come since
            self._run(b"SYSTEM STOP MERGES")
        now = time.time()
        if self._stopped or self._broken or self._doubtful():
            self._mend(self._compared)
        self._compared = now
        if self._stopped and not low and not self._broken:
            self._run(b"SYSTEM START MERGES")
        if low != self._stopped:
            what = "no inserts and no merges" if low else "inserts and merges go on"
            log.warning("%s has %d MiB left: %s", self._path, self._free() >> 20, what)
        self._stopped = low or bool(self._broken)

    def _mend(self, since: float) -> bool:
        """Load the tables anew that have parts of which the disk lacks something; True if there were any."""
        with self._lock:
            self._broken |= self._incomplete(since - 1)
            found = bool(self._broken)
            for database, table in sorted(self._broken):
                where = sql.identifier(database) + b"." + sql.identifier(table)
                try:
                    self._run(b"DETACH TABLE IF EXISTS %s" % where)
                    self._run(b"ATTACH TABLE IF NOT EXISTS %s" % where)
                except errors.EngineError as error:
                    if error.code != errors.UNKNOWN_TABLE:  # else it was dropped
                        log.error("%s.%s can't be loaded anew, which is tried again: %s", database, table, error)
                        continue
                self._broken.discard((database, table))
        return found

    def _incomplete(self, since: float) -> set[_Table]:
        found = set()
        for line in self._run(_WRITTEN_SINCE % since).splitlines():
            database, table, name, path, size = _part(line)
            if not _whole(path, size):
                found.add((database, table))
                log.error(
                    "the disk was full: part %s of %s.%s isn't whole, and is set aside. What had been acknowledged "
                    "of it is told and put in again by sluice reconcile --repair", name, database, table
                )  # fmt: skip
        return found

    def _keep_looking(self) -> None:
        while not self._closed.wait(_LOOK_EVERY_S):
            try:
                self.look()
            except Exception:  # whatever it was is tried again, and without this watch a full disk loses rows
                log.exception("the disk can't be watched")

    def _free(self) -> int:
        found = os.statvfs(self._path)
        return found.f_bavail * found.f_frsize if found.f_favail or not found.f_files else 0

    def _low(self) -> bool:
        return self._free() < LOW_BYTES

    def _doubtful(self) -> bool:
        return self._free() < DOUBTFUL_BYTES

    def _refusal(self) -> str:
        if not self._low():
            return "A table is being loaded anew: try again"
        left, needed = self._free() >> 20, LOW_BYTES >> 20
        return f"{self._path} has {left} MiB left and needs {needed} MiB: make room on its disk"


def _part(line: bytes) -> tuple[str, str, str, Path, int]:
    database, table, name, path, size = json.loads(line)
    return database, table, name, Path(path), int(size)


def _whole(folder: Path, size: int) -> bool:
    """True if the files of a part amount to what the engine counts, and the last of them was written."""
    try:
        sizes = {file: file.stat().st_size for file in folder.rglob("*") if file.is_file()}
    except FileNotFoundError:
        return True  # merged away meanwhile
    return not sizes or (sum(sizes.values()) >= size and sizes.get(folder / "checksums.txt", 0) > 0)
