"""ClickHouse over HTTP, as commands need it: one query, its rows; errors that say what to fix."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx

from streams.cli.connect import Where
from streams.cli.failure import BadInput, Refused, Unreachable

ANALYST = "analyst"  # the embedded ClickHouse's read-only user
_READONLY = 164
_CODE = re.compile(r"Code: (\d+)")
# After a syntax error ClickHouse lists every word that could have stood there: a screenful.
_EXPECTED = re.compile(r"\. Expected one of: .{200,}(?=\(SYNTAX_ERROR\))")
_UNKNOWN_DATABASE = 81
_DENIED = {_READONLY, 497}


class ClickHouse:
    """Queries that change nothing, with server-side parameters."""

    def __init__(self, where: Where, timeout_s: float = 60) -> None:
        self._url, self._database = where.clickhouse_url, where.settings.clickhouse_database
        user, password = where.settings.clickhouse_user, where.settings.clickhouse_password
        if where.own_clickhouse and "clickhouse_user" not in where.settings.model_fields_set:
            user = ANALYST
        # Mode 2: nothing is written, formats may be chosen. The analyst is read-only by itself.
        self._mode = {} if user == ANALYST else {"readonly": "2"}
        headers = {"X-ClickHouse-User": user, "X-ClickHouse-Key": password.get_secret_value()}
        self._http = httpx.AsyncClient(timeout=timeout_s, headers=headers, trust_env=False)

    async def __aenter__(self) -> "ClickHouse":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def rows(self, sql: str, parameters: Mapping[str, object] | None = None) -> list[dict[str, Any]]:
        """All rows of a query. Raises Unreachable, BadInput (ClickHouse's own words) or Refused."""
        answer = await self._ask(sql, "JSONEachRow", parameters)
        return [json.loads(row) for row in answer.text.splitlines() if row]

    async def columns_and_rows(self, sql: str) -> tuple[list[str], list[str], list[list[Any]]]:
        """Names and types of the columns, and the rows."""
        answer = await self._ask(sql, "JSONCompactEachRowWithNamesAndTypes", None)
        try:
            lines = [json.loads(row) for row in answer.text.splitlines() if row]
        except ValueError:
            lines = [None]
        if not lines:
            return [], [], []
        if not all(isinstance(line, list) for line in lines) or len(lines) < 2:
            raise BadInput("the answer isn't a table", "leave FORMAT out of the query, or use --json or --csv")
        return lines[0], lines[1], lines[2:]

    async def stream(self, sql: str, output_format: str) -> AsyncIterator[bytes]:
        """The answer as bytes, in pieces."""
        request = self._http.build_request(
            "POST", self._url, params=self._params(output_format, None), content=sql
        )
        answer = await self._send(request, stream=True)
        try:
            async for piece in answer.aiter_bytes():
                yield piece
        finally:
            await answer.aclose()

    async def _ask(
        self, sql: str, output_format: str, parameters: Mapping[str, object] | None
    ) -> httpx.Response:
        params = self._params(output_format, parameters)
        return await self._send(self._http.build_request("POST", self._url, params=params, content=sql))

    def _params(self, output_format: str, parameters: Mapping[str, object] | None) -> dict[str, str]:
        given = {f"param_{k}": str(v) for k, v in (parameters or {}).items()}
        fixed = {"database": self._database, "default_format": output_format, **self._mode}
        return {**fixed, "output_format_json_quote_64bit_integers": "0", **given}

    async def _send(self, request: httpx.Request, stream: bool = False) -> httpx.Response:
        try:
            answer = await self._http.send(request, stream=stream)
        except httpx.TransportError as error:
            message = f"ClickHouse doesn't answer at {self._url} ({type(error).__name__})"
            raise Unreachable(message, "start it with `sluice up`, or set SLUICE_CLICKHOUSE_URL") from error
        if answer.is_error:
            await answer.aread()
            raise _failure(answer.status_code, answer.text)
        return answer


def _failure(status: int, text: str) -> Exception:
    found = _CODE.search(text)
    code = int(found.group(1)) if found else 0
    first = text.strip().splitlines()[0] if text.strip() else f"HTTP status {status}"
    message = re.sub(r"\s*\(version [^)]*\)\s*$", "", first)
    message = _EXPECTED.sub(". ", message)
    if code in _DENIED:
        return Refused(
            message, "`sluice query` only reads; set SLUICE_CLICKHOUSE_USER for another user's rights"
        )
    if code == _UNKNOWN_DATABASE:
        return Unreachable("ClickHouse has no tables of Sluice yet", "`sluice up` makes them")
    if code == 60:
        return BadInput(message, "`sluice query 'SHOW TABLES'` lists the tables")
    if status in (401, 403) or code in (192, 193, 194, 516):
        return Refused(message, "set SLUICE_CLICKHOUSE_USER and SLUICE_CLICKHOUSE_PASSWORD")
    return BadInput(message)
