"""chdb behind a small typed surface: one engine a process, many connections that work side by side.

Everything here blocks and releases the interpreter while the engine works; `lanes` gives it threads.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from streams.local.clickhouse_server import engine_config, errors, sql
from streams.local.clickhouse_server.disk import Disk

ADMIN_ROLE: Final = "admin"
ANALYST_ROLE: Final = "analyst"

_OPTION_SIGNS: Final = "?&#%"


class EngineUnavailable(RuntimeError):
    """The data directory can't be opened. The message says why and what to do."""


@dataclass
class Counts:
    """What a statement read and wrote, in rows and bytes, and its time in seconds."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    result_bytes: int = 0
    elapsed: float = 0.0


class Connection:
    """One session of the engine: settings, current database and temporary tables of its own.

    Not safe for two threads at once. Every method raises `errors.EngineError` for what the engine refuses.
    """

    def __init__(self, raw: Any, spool: Path, disk: Disk) -> None:
        self._raw = raw
        self._spool = spool
        self._disk = disk

    def execute(self, statement: bytes, form: str = "TabSeparated", counts: Counts | None = None) -> bytes:
        """Run one statement and return its whole result in the format `form` (a FORMAT clause goes first)."""
        began = time.time()
        with _engine_errors():
            result = self._raw.query(statement, form)
        if result.rows_written():
            self._disk.check(began)
        out: bytes = result.bytes()
        if counts is not None:
            _count(counts, result, len(out))
            counts.written_rows += result.rows_written()
            counts.written_bytes += result.bytes_written()
        return out

    def stream(self, statement: bytes, form: str, counts: Counts) -> Generator[bytes, None, None]:
        """The result of a SELECT, block by block, each block complete in the format. Closing it ends the query."""
        with _engine_errors():
            result = self._raw.send_query(statement, form)
        try:
            while True:
                with _engine_errors():
                    block = result.fetch()
                if block is None:
                    return
                out: bytes = block.bytes()
                _count(counts, block, len(out))
                yield out
        finally:
            result.cancel()

    def insert(self, head: bytes, form: str, data: Iterable[bytes], counts: Counts) -> None:
        """Run the INSERT `head` (without FORMAT) with `data` in the format `form`.

        The data go by a file: chdb's own streaming insert tells parse errors only, and acknowledges rows that a
        constraint, a DEFAULT or the storage refused.
        """
        self._disk.admit()
        began = time.time()
        with tempfile.NamedTemporaryFile(dir=self._spool, prefix="insert-") as file:
            for piece in data:
                file.write(piece)
            file.flush()
            before, settings = sql.split_settings(head)
            source = b" FROM INFILE %s COMPRESSION 'none' " % sql.quote(file.name)
            statement = before + source + settings + b" FORMAT " + form.encode()
            with _engine_errors():
                done = self._raw.query(statement, "Null")
            self._disk.check(began)
        counts.written_rows += done.rows_written()
        counts.written_bytes += done.bytes_written()
        counts.read_rows, counts.read_bytes = counts.written_rows, counts.written_bytes
        counts.elapsed = done.elapsed()

    def reads_only(self, statement: bytes) -> bool:
        """True if the engine's parser sees exactly one statement in it, one that only reads."""
        with _engine_errors():
            found = self._raw._conn.classify_query(_text(statement), "default")
        return bool(found["statement_count"] == 1 and found["query_class"].name == "READ_ONLY")

    def close(self) -> None:
        self._raw.close()


class Engine:
    """The one owner of a data directory."""

    def __init__(self, path: Path, lock: BinaryIO, url: str) -> None:
        self.path = path
        self._lock = lock
        self._url = url
        self._disk = Disk(path, self._run)
        self._keep = self.connect()  # the engine lives as long as it has a connection
        version, timezone = self._keep.execute(b"SELECT version(), timezone()").decode().split("\t")
        self.version = version
        self.timezone = timezone.strip()
        self._disk.start()

    @classmethod
    def open(cls, path: Path, *, max_memory_bytes: int, fsync: bool = False) -> "Engine":
        """Open the engine on `path`, made if need be. Raises EngineUnavailable if another process has it."""
        path = path.resolve()
        if any(sign in str(path) for sign in _OPTION_SIGNS):
            message = f"{path} can't hold an embedded database: choose a path without any of {_OPTION_SIGNS}"
            raise EngineUnavailable(message)
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _lock(path)
        try:
            spool = spool_of(path)
            shutil.rmtree(spool, ignore_errors=True)
            spool.mkdir(mode=0o700)
            config = engine_config.write(path / "config", max_memory_bytes=max_memory_bytes, fsync=fsync)
            return cls(path, lock, f"{path / 'engine'}?config-file={config}")
        except BaseException:
            lock.close()
            raise

    def connect(self) -> Connection:
        """A connection of its own: tens of microseconds, so that each request can have one."""
        return Connection(_connect(self._url), spool_of(self.path), self._disk)

    def kill(self, tag: str) -> None:
        """End the running statement whose log_comment holds `tag`; it then raises QUERY_WAS_CANCELLED."""
        self._run(kill_statement(tag))

    def close(self) -> None:
        """Let go of the directory. Connections must be closed before."""
        self._disk.close()
        self._keep.close()
        self._lock.close()

    def _run(self, statement: bytes) -> bytes:
        connection = self.connect()
        try:
            return connection.execute(statement, "JSONCompactEachRow")
        finally:
            connection.close()


def kill_statement(tag: str) -> bytes:
    """A KILL QUERY for the statement that runs under `tag`: chdb takes no query id, but keeps a log_comment."""
    return b"KILL QUERY WHERE position(Settings['log_comment'], %s) > 0 ASYNC" % sql.quote(tag)


def spool_of(path: Path) -> Path:
    """The private directory for bodies and results that are too large for memory; emptied at each start."""
    return path / "spool"


def _connect(url: str) -> Any:
    import chdb  # late, as it takes half a second and 200 MB

    connect: Any = chdb.connect  # the wheels differ in whether they carry types
    try:
        return connect(url)
    except RuntimeError as error:
        raise EngineUnavailable(f"The embedded engine doesn't open: {error}") from None


def _lock(path: Path) -> BinaryIO:
    lock = (path / "lock").open("a+b")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        owner = lock.read(32).decode("ascii", "replace").strip() or "unknown"
        lock.close()
        message = f"{path} is in use by another server (pid {owner}): stop it, or choose another --path"
        raise EngineUnavailable(message) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n".encode())
    lock.flush()
    return lock


def _text(statement: bytes) -> str:
    try:
        return statement.decode()
    except UnicodeDecodeError:
        raise errors.EngineError(errors.SYNTAX_ERROR, "The statement is no valid UTF-8") from None


def _count(counts: Counts, result: Any, size: int) -> None:
    counts.read_rows += result.storage_rows_read()
    counts.read_bytes += result.storage_bytes_read()
    counts.result_rows += result.rows_read()
    counts.result_bytes += size
    counts.elapsed += result.elapsed()


@contextlib.contextmanager
def _engine_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # chdb's errors are RuntimeErrors with ClickHouse's text
        raise errors.parse(str(error)) from None
