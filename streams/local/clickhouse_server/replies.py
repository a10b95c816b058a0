"""Answers on the wire: headers, compressed pieces, errors before and in the middle of a result."""

import contextlib
import json
import secrets
from typing import Final

from aiohttp import web

from streams.local.clickhouse_server.compression import Encoder, encoder
from streams.local.clickhouse_server.engine import Counts, Engine
from streams.local.clickhouse_server.errors import EngineError

_TYPES: Final = {
    "tabseparated": "text/tab-separated-values; charset=UTF-8",
    "tsv": "text/tab-separated-values; charset=UTF-8",
    "csv": "text/csv; charset=UTF-8; header=absent",
    "csvwithnames": "text/csv; charset=UTF-8; header=present",
    "json": "application/json; charset=UTF-8",
    "jsoncompact": "application/json; charset=UTF-8",
    "xml": "application/xml; charset=UTF-8",
    "native": "application/octet-stream",
    "rowbinary": "application/octet-stream",
    "arrow": "application/octet-stream",
    "arrowstream": "application/octet-stream",
    "parquet": "application/octet-stream",
}


def summary(counts: Counts) -> str:
    """The value of X-ClickHouse-Summary: numbers as strings, as a server gives them."""
    return json.dumps(
        {
            "read_rows": str(counts.read_rows),
            "read_bytes": str(counts.read_bytes),
            "written_rows": str(counts.written_rows),
            "written_bytes": str(counts.written_bytes),
            "total_rows_to_read": "0",
            "result_rows": str(counts.result_rows or counts.written_rows),
            "result_bytes": str(counts.result_bytes or counts.written_bytes),
            "elapsed_ns": str(int(counts.elapsed * 1e9)),
        },
        separators=(",", ":"),
    )


class Reply:
    """The answer to one request: whole if it is short, else piece by piece."""

    def __init__(self, request: web.Request, engine: Engine, query_id: str, encoding: str | None) -> None:
        self._request = request
        self._engine = engine
        self._encoding = encoding
        self._encoder: Encoder = encoder(encoding)
        self._tag = secrets.token_hex(8)
        self._response: web.StreamResponse | None = None
        self._headers = {
            "X-ClickHouse-Server-Display-Name": "sluice",
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Timezone": engine.timezone,
            "X-ClickHouse-Exception-Tag": self._tag,
        }

    def pack(self, piece: bytes) -> bytes:
        """`piece` as it goes on the wire; called in order, in any thread."""
        return self._encoder.compress(piece)

    def pack_end(self) -> bytes:
        return self._encoder.flush()

    def whole(self, packed: bytes, form: str, counts: Counts) -> web.Response:
        """An answer that is complete; `packed` went through `pack` and `pack_end`."""
        return web.Response(body=packed, headers=self._result_headers(form, counts))

    async def begin(self, form: str, counts: Counts, length: int | None = None) -> None:
        """Start an answer that follows in pieces, of `length` packed bytes if that is known."""
        self._response = web.StreamResponse(headers=self._result_headers(form, counts))
        if length is not None:
            self._response.content_length = length
        await self._response.prepare(self._request)

    async def send(self, packed: bytes) -> None:
        if packed and self._response is not None:
            await self._response.write(packed)

    async def end(self) -> web.StreamResponse:
        assert self._response is not None
        await self._response.write_eof()
        return self._response

    async def fail(self, error: EngineError) -> web.StreamResponse:
        """Tell of `error`: by status before the result has begun, in its midst by ClickHouse's closing block and by
        breaking the connection off, so that no client takes the part that it has for the whole."""
        text = error.text(self._engine.version)
        if self._response is None:
            headers = self._headers | {"X-ClickHouse-Exception-Code": str(error.code)}
            if error.status == 401:
                headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
            return web.Response(status=error.status, text=text + "\n", headers=headers)
        body = text.encode("utf-8", "replace")
        tag = self._tag.encode()
        block = b"\r\n__exception__\r\n%s\r\n%s\n%d %s\r\n__exception__\r\n" % (tag, body, len(body) + 1, tag)
        with contextlib.suppress(ConnectionError):
            await self._response.write(self.pack(block) + self.pack_end())
        if self._request.transport is not None:
            self._request.transport.close()
        return self._response

    def _result_headers(self, form: str, counts: Counts) -> dict[str, str]:
        headers = self._headers | {
            "Content-Type": _TYPES.get(form.lower(), "text/plain; charset=UTF-8"),
            "X-ClickHouse-Format": form,
            "X-ClickHouse-Summary": summary(counts),
        }
        if self._encoding:
            headers["Content-Encoding"] = self._encoding
        return headers
