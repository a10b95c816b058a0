"""Runs one request's statement on a connection, in a lane's thread: settings, confinement, the statement."""

import re
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Final

from streams.local.clickhouse_server import access, errors, sql, users
from streams.local.clickhouse_server.engine import Connection, Counts, kill_statement
from streams.local.clickhouse_server.request import Ask
from streams.local.clickhouse_server.sessions import Session, makes_state

# Formats whose blocks may follow one another: chdb writes each block of a stream as a result of its own. The
# others (JSON, Arrow, Parquet, those with names, ...) are made in memory, whole, and bounded.
_STREAMED: Final = {
    *("native", "tabseparated", "tsv", "tabseparatedraw", "tsvraw", "raw", "csv", "rowbinary", "tskv", "null"),
    *("jsoneachrow", "jsonlines", "ndjson", "jsoncompacteachrow", "jsonstringseachrow", "rawblob"),
}
_UNSTREAMED_SETTINGS: Final = ("extremes", "output_format_json_array_of_rows")
_SELECTS: Final = ("SELECT", "WITH", "FROM", "(")
MAX_WHOLE_RESULT_BYTES: Final = 256 << 20
_KILL_BY_ID = re.compile(
    rb"\s*kill\s+query\s+where\s+query_id\s*=\s*'([^'\\]*)'\s*(?:sync|async)?\s*;?\s*", re.IGNORECASE
)


@dataclass
class Run:
    """A statement under way. `format` is what its result comes in; `counts` grow while it is read."""

    ask: Ask
    tag: str
    connect: Callable[[], Connection]
    tag_of: Callable[[str], str | None]
    session: Session | None = None
    format: str = "TabSeparated"
    counts: Counts = field(default_factory=Counts)
    connection: Connection | None = None
    _restore: list[bytes] = field(default_factory=list)

    def insert_of(self) -> sql.Insert | None:
        """The INSERT with data that this request is, if it is one and not a reader's."""
        head = b"" if self.ask.user == users.ANALYST else self.ask.head()
        return sql.insert(head) if sql.first_word(head) == "INSERT" else None

    def insert(self, insert: sql.Insert) -> None:
        """Insert the request's data."""
        head, form, data = insert.head, insert.format, insert.data
        if form is None:
            form = self.ask.default_format or "Values"
            head, data = (self.ask.query, len(self.ask.prefix)) if self.ask.query else (head, data)
        if not self.ask.prefix[data:].strip():  # blanks behind the statement are no data
            data = max(data, len(self.ask.prefix))
        connection = self._open()
        self._prepare(connection, head, {})
        connection.insert(head, form, self.ask.data(data), self.counts)

    def result(self) -> Generator[bytes, None, None]:
        """The result of any other statement, in pieces, each as large as one block of it."""
        text = self.ask.text()
        found = sql.statement(text)
        if not found.keyword:
            raise errors.EngineError(errors.SYNTAX_ERROR, "Syntax error: Empty query")
        if found.several and self.ask.user != users.ANALYST:
            raise errors.EngineError(errors.SYNTAX_ERROR, "Syntax error (Multi-statements are not allowed)")
        if found.outfile:
            raise errors.EngineError(errors.INTO_OUTFILE_NOT_ALLOWED, "INTO OUTFILE is not allowed")
        self.format = found.format or self.ask.default_format or "TabSeparated"
        streams = found.keyword in _SELECTS and self.format.lower() in _STREAMED and not found.totals
        if any(name in self.ask.settings or name.encode() in text for name in _UNSTREAMED_SETTINGS):
            streams = False
        connection = self._open(makes_state(text))
        self._prepare(connection, text, {} if streams else {"max_result_bytes": str(MAX_WHOLE_RESULT_BYTES)})
        try:
            if streams:
                yield from connection.stream(text, self.format, self.counts)
            else:
                yield connection.execute(self._translated(text), self.format, self.counts)
        except errors.EngineError as error:
            raise access.told(error) if self.ask.user == users.ANALYST else error from None
        if self.session is not None and found.keyword == "SET":
            self.session.altered = True

    def close(self) -> None:
        """End what is left of the request: its connection, or its marks on the session's."""
        connection, self.connection = self.connection, None
        if connection is None:
            return
        if self.session is None or self.session.connection is not connection:
            connection.close()
            return
        try:
            for statement in reversed(self._restore):
                connection.execute(statement)
        except errors.EngineError:  # a session in an unknown state is none: the client finds its tables gone
            self.session.connection = None
            connection.close()

    def _open(self, keeps: bool = False) -> Connection:
        kept = self.session.connection if self.session is not None else None
        self.connection = kept or self.connect()
        if keeps and self.session is not None and self.ask.user != users.ANALYST:
            self.session.connection = self.connection
        return self.connection

    def _prepare(self, connection: Connection, text: bytes, defaults: dict[str, str]) -> None:
        reader = self.ask.user == users.ANALYST
        mode = 0
        if reader:  # checked before the request's settings can change how the checks themselves run
            access.check_settings(list(self.ask.settings))
            access.check_external([table.name for table in self.ask.external])
            mode = access.check(connection, text)
            defaults = access.DEFAULTS | defaults
        settings = defaults | self.ask.settings
        readonly = settings.pop("readonly", "0")
        settings["log_comment"] = f"{settings.get('log_comment', '')} {self.tag}".strip()
        kept = self.session is not None and self.session.connection is connection
        if kept:
            self._remember(connection, settings, text)
        if database := self.ask.options.get("database"):
            connection.execute(b"USE " + sql.identifier(database))
        self._load_external(connection)
        _set(connection, settings)
        _set(connection, {f"param_{name}": value for name, value in self.ask.parameters.items()})
        if reader:
            access.confine(connection, mode)
        elif readonly != "0" or self.ask.method != "POST":  # as on a server, a GET can't modify
            self._read_only(connection, text, readonly, kept)

    def _read_only(self, connection: Connection, text: bytes, readonly: str, kept: bool) -> None:
        if not kept:
            _set(connection, {"readonly": readonly if readonly != "0" else "2"})
        elif not connection.reads_only(text):  # readonly mode can't be left again, and the session goes on
            raise errors.EngineError(errors.READONLY, "Cannot execute query in readonly mode")

    def _load_external(self, connection: Connection) -> None:
        for table in self.ask.external:
            name = sql.identifier(table.name)
            connection.execute(b"CREATE TEMPORARY TABLE %s (%s)" % (name, table.structure.encode()))
            self._restore.append(b"DROP TEMPORARY TABLE " + name)
            connection.insert(b"INSERT INTO " + name, table.format, table.data.pieces(0), Counts())

    def _remember(self, connection: Connection, settings: dict[str, str], text: bytes) -> None:
        """Note how to take this request's settings and database back from a session's connection."""
        if sql.first_word(text) != "USE":
            database = connection.execute(b"SELECT currentDatabase()", "TSVRaw")[:-1].decode()
            self._restore.append(b"USE " + sql.identifier(database))
        self._restore.extend(b"SET %s = DEFAULT" % name.encode() for name in settings)
        if self.session is not None and self.session.altered:
            names = b", ".join(sql.quote(name) for name in settings)
            asked = b"SELECT name, value FROM system.settings WHERE changed AND name IN (%s)" % names
            for line in connection.execute(asked, "TSVRaw").decode().splitlines():
                name, _, value = line.partition("\t")
                self._restore.insert(0, b"SET %s = %s" % (name.encode(), sql.quote(value)))

    def _translated(self, text: bytes) -> bytes:
        """KILL QUERY by a query_id that a request was given: the engine knows that one by its tag alone."""
        asked = _KILL_BY_ID.fullmatch(text)
        tag = self.tag_of(asked[1].decode("utf-8", "replace")) if asked is not None else None
        return text if tag is None else kill_statement(tag)


def _set(connection: Connection, values: dict[str, str]) -> None:
    if values:
        pairs = b", ".join(b"%s = %s" % (name.encode(), sql.quote(value)) for name, value in values.items())
        connection.execute(b"SET " + pairs)
