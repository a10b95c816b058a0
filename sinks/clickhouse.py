"""ClickHouse over HTTP, for a server and for the embedded engine alike: statements, and blocks in Native format."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import lz4.frame
from clickhouse_connect.driver import create_async_client
from clickhouse_connect.driver.asyncclient import AsyncClient

from sinks.errors import NETWORK, SERIALIZING, translate, unserializable
from sinks.native import Encoder
from sinks.store import Row
from sinks.tables import LEASE_COLUMN, Table

_LOOPBACK: Final = {"127.0.0.1", "localhost", "::1"}
_LEASE_TYPE: Final = "DateTime64(3, 'UTC')"
_INLINE_ROWS: Final = 500
"""Blocks up to this size are made on the event loop; larger ones in a thread, so that heartbeats go on."""

# One block an insert, answered when it is in. The squashing thresholds only say that it is never cut. A block has
# every column that its statement names; to look for values that it omits costs a third of a small insert. Its rows
# may be of any number of months: a limit would refuse the same block for ever.
_SETTINGS: Final = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "min_insert_block_size_rows": 10_000_000,
    "min_insert_block_size_bytes": 1 << 30,
    "max_insert_block_size": 10_000_000,
    "max_partitions_per_insert_block": 0,
    "input_format_defaults_for_omitted_fields": 0,
}


@dataclass(frozen=True)
class Access:
    """Where ClickHouse is and who asks. `url` is its HTTP interface."""

    url: str
    user: str = "default"
    password: str = field(default="", repr=False)
    database: str = "sluice"

    @property
    def analytics(self) -> str:
        """The database of the analysts' views: `analytics` beside `sluice`, else named after its own."""
        return "analytics" if self.database == "sluice" else f"{self.database}_analytics"


class ClickHouse:
    """One client; it connects when it is first used, and again after the server was away.

    Every method raises a StoreError: Unavailable, LeaseOver or Refused.
    """

    def __init__(self, access: Access, timeout_s: float = 60) -> None:
        self.access = access
        self._timeout_s = timeout_s
        self._client: AsyncClient | None = None
        self._connecting = asyncio.Lock()
        self._encoders: dict[str, Encoder] = {}
        self._compression = None if urlsplit(access.url).hostname in _LOOPBACK else "lz4"

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def command(
        self, sql: str, parameters: Mapping[str, Any] | None = None, token: str | None = None
    ) -> None:
        """Run a statement that returns nothing."""
        settings = {"insert_deduplication_token": token} if token else {}
        try:
            client = await self._connected()
            await client.command(sql, parameters=dict(parameters or {}), settings=settings)
        except NETWORK as error:
            raise translate(error) from error

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[Sequence[Any]]:
        """The rows of a query."""
        try:
            client = await self._connected()
            result = await client.query(sql, parameters=dict(parameters or {}))
        except NETWORK as error:
            raise translate(error) from error
        return list(result.result_rows)

    async def column(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Any]:
        """The values of a query's only column: a fraction of what its rows would take."""
        try:
            client = await self._connected()
            result = await client.query(sql, parameters=dict(parameters or {}))
        except NETWORK as error:
            raise translate(error) from error
        columns: Sequence[Sequence[Any]] = result.result_columns
        return columns[0] if columns else ()

    async def insert(self, table: Table, rows: Sequence[Row], token: str, lease: int, into: str = "") -> None:
        """Write `rows` as one block under `token`; `into` names another table of the same columns."""
        target = f"`{self.access.database}`.`{into or table.name}`"
        if len(rows) <= _INLINE_ROWS:
            body = self.body(target, table, rows, lease)
        else:
            body = await asyncio.to_thread(self.body, target, table, rows, lease)
        settings = {**_SETTINGS, "insert_deduplication_token": token}
        # The client sends bytes again by itself when the connection breaks, and hides that the first request may
        # have been applied. What it doesn't know to be repeatable, such as a view, it sends once, and raises.
        once: Any = memoryview(body)
        try:
            client = await self._connected()
            await client.raw_insert(insert_block=once, settings=settings, compression=self._compression)
        except NETWORK as error:
            raise translate(error) from error

    def body(self, target: str, table: Table, rows: Sequence[Row], lease: int) -> bytes:
        """The request that inserts `rows` into `target`. Raises Refused for a value that doesn't fit its column."""
        encoder = self._encoders.get(table.name)
        if encoder is None:
            names, types = (*table.columns, LEASE_COLUMN), (*table.types, _LEASE_TYPE)
            encoder = self._encoders[table.name] = Encoder(names, types)
        try:
            body = encoder.insert(target, [*zip(*rows, strict=True), [lease] * len(rows)])
        except SERIALIZING as error:
            raise unserializable(error) from error
        return lz4.frame.compress(body) if self._compression else body

    async def _connected(self) -> AsyncClient:
        async with self._connecting:
            if self._client is None:
                parts = urlsplit(self.access.url)
                self._client = await create_async_client(
                    host=parts.hostname,
                    port=parts.port or (8443 if parts.scheme == "https" else 8123),
                    interface=parts.scheme,
                    username=self.access.user,
                    password=self.access.password,
                    compress=self._compression or False,
                    send_receive_timeout=self._timeout_s,
                    connect_timeout=5,
                    autogenerate_session_id=False,
                )
            return self._client
