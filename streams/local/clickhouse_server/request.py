"""What an HTTP request asks for: user, statement, settings, parameters, data; all bounded in size."""

import re
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from aiohttp import BodyPartReader, MultipartReader, web

from streams.local.clickhouse_server import errors, sql
from streams.local.clickhouse_server.compression import Decoder

PIECE_BYTES: Final = 1 << 20
_MEMORY_BYTES: Final = 16 << 20
_MAX_TEXT_BYTES: Final = 16 << 20
_MAX_FIELDS: Final = 1000

# Parameters of the protocol itself; every other one is a setting of the engine.
_PROTOCOL: Final = {
    *("query", "query_id", "database", "default_format", "user", "password", "quota_key", "role", "stacktrace"),
    *("session_id", "session_timeout", "session_check", "close_session", "compress", "decompress", "buffer_size"),
    *("wait_end_of_query", "client_protocol_version", "add_http_cors_header"),
}
_SETTING = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class Body:
    """Plain bytes of a body, in memory up to 16 MiB, beyond that in an unnamed file that ends with the process."""

    def __init__(self, spool: Path, limit: int) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_MEMORY_BYTES, dir=str(spool))  # noqa: SIM115
        self._limit = limit
        self.size = 0

    def write(self, data: bytes) -> None:
        """Raises EngineError QUERY_IS_TOO_LARGE beyond the limit."""
        self.size += len(data)
        if self.size > self._limit:
            message = f"The body holds more than {self._limit} bytes: send it in several requests"
            raise errors.EngineError(errors.QUERY_IS_TOO_LARGE, message)
        self._file.write(data)

    def head(self, size: int) -> bytes:
        self._file.seek(0)
        return self._file.read(size)

    def pieces(self, start: int) -> Iterator[bytes]:
        """The bytes from `start` on, in pieces."""
        self._file.seek(start)
        while piece := self._file.read(PIECE_BYTES):
            yield piece

    def close(self) -> None:
        self._file.close()


@dataclass
class ExternalTable:
    """A table that comes with the query, as clients send it: a file in a form."""

    name: str
    structure: str
    format: str
    data: Body


@dataclass
class Ask:
    """A parsed request. `text` is the statement, with an INSERT's data where they follow it."""

    user: str
    method: str
    query: bytes
    body: Body
    options: dict[str, str]
    settings: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    external: list[ExternalTable] = field(default_factory=list)
    default_format: str | None = None

    @property
    def prefix(self) -> bytes:
        """What of the statement came as a parameter; the body goes on behind it."""
        return self.query + b"\n" if self.query and self.body.size else self.query

    def head(self) -> bytes:
        """The first bytes of the text: enough for an INSERT's statement."""
        return self.prefix + self.body.head(sql.MAX_HEAD_BYTES)

    def text(self) -> bytes:
        """The whole text. Raises EngineError if it is too large for a statement."""
        if self.body.size > _MAX_TEXT_BYTES:
            raise errors.EngineError(errors.QUERY_IS_TOO_LARGE, f"A statement may hold {_MAX_TEXT_BYTES} bytes at most")
        return self.prefix + self.body.head(_MAX_TEXT_BYTES)

    def data(self, start: int) -> Iterator[bytes]:
        """The text's bytes from `start` on."""
        within = len(self.prefix)
        if start < within:
            yield self.prefix[start:]
        yield from self.body.pieces(max(0, start - within))

    def flag(self, name: str) -> bool:
        return self.options.get(name, "0").lower() in ("1", "true")

    def close(self) -> None:
        self.body.close()
        for table in self.external:
            table.data.close()


async def read(request: web.Request, user: str, spool: Path, limit: int) -> Ask:
    """The request's parts, its body read to the end. Raises EngineError for what can't be."""
    declared = request.content_length
    if declared is not None and declared > limit:
        message = f"The body holds {declared} bytes, more than {limit}: send it in several requests"
        raise errors.EngineError(errors.QUERY_IS_TOO_LARGE, message)
    body = Body(spool, limit)
    ask = Ask(user, request.method, b"", body, {})
    try:
        fields = dict(request.query)
        if request.content_type == "multipart/form-data":
            await _read_form(await request.multipart(), fields, ask, spool, limit)
        else:
            encoding = request.headers.get("Content-Encoding", "")
            await _decode(request.content.iter_chunked(PIECE_BYTES), encoding, body)
        _sort(fields, ask)
        ask.options.setdefault("database", request.headers.get("X-ClickHouse-Database", ""))
        ask.default_format = request.headers.get("X-ClickHouse-Format") or ask.options.get("default_format")
    except BaseException:
        ask.close()
        raise
    return ask


async def _decode(pieces: AsyncIterator[bytes], encoding: str, into: Body) -> None:
    decoder = Decoder(encoding)
    async for piece in pieces:
        decoder.feed(piece)
        while plain := decoder.read():
            into.write(plain)
    decoder.end()


async def _read_form(form: MultipartReader, fields: dict[str, str], ask: Ask, spool: Path, limit: int) -> None:
    uploads: list[tuple[str, Body]] = []
    try:
        async for part in form:
            if not isinstance(part, BodyPartReader) or not part.name or len(fields) + len(uploads) > _MAX_FIELDS:
                raise errors.EngineError(errors.BAD_ARGUMENTS, "Every part of the form needs a name")
            held = Body(spool, limit if part.filename else _MAX_TEXT_BYTES)
            uploads.append((part.name, held))
            while piece := await part.read_chunk(PIECE_BYTES):
                held.write(piece)
            limit -= held.size  # the limit is for the parts together
            if not part.filename:
                fields[part.name] = held.head(_MAX_TEXT_BYTES).decode("utf-8", "surrogateescape")
                uploads.pop()[1].close()
    except BaseException:
        for _, held in uploads:
            held.close()
        raise
    for name, held in uploads:
        structure = fields.pop(f"{name}_structure", "") or _numbered(fields.pop(f"{name}_types", ""))
        ask.external.append(ExternalTable(name, structure, fields.pop(f"{name}_format", "TabSeparated"), held))


def _numbered(types: str) -> str:
    """Columns named as a server names those that have only a type: _1, _2, ..."""
    return ", ".join(f"_{i} {kind.strip()}" for i, kind in enumerate(types.split(","), 1) if kind.strip())


def _sort(fields: Mapping[str, str], ask: Ask) -> None:
    for name, value in fields.items():
        if name == "query":
            ask.query = value.encode("utf-8", "surrogateescape")
        elif name in _PROTOCOL:
            ask.options[name] = value
        elif name.startswith("param_") and _SETTING.fullmatch(name):
            ask.parameters[name.removeprefix("param_")] = value
        elif _SETTING.fullmatch(name):
            ask.settings[name] = value
        else:
            raise errors.EngineError(115, f"Unknown setting '{name}'", "UNKNOWN_SETTING")
    if ask.flag("compress") or ask.flag("decompress"):
        message = "compress and decompress (ClickHouse's own blocks) are not supported: use HTTP's content encodings"
        raise errors.EngineError(errors.NOT_IMPLEMENTED, message)
    if ask.options.get("role"):
        raise errors.EngineError(errors.NOT_IMPLEMENTED, "role is not supported: the user decides")
