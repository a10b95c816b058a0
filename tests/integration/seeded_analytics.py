"""A database that holds the made-up autumn, and a reader of it."""

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect

from sinks.clickhouse import Access, ClickHouse
from sinks.clickhouse_store import ClickHouseStore
from sinks.migrate import Migrator
from tests.fakes.analytics_events import rows
from tests.fakes.analytics_world import World

_BLOCK = 150


@contextmanager
def seeded(url: str, world: World) -> Iterator[Access]:
    """A database of its own with the rows of `world`, inserted block by block as the sink does."""
    access = Access(url, database=f"t_{uuid.uuid4().hex[:10]}")
    asyncio.run(_fill(access, world))
    yield access
    asyncio.run(_drop(access))


def reader(access: Access, user: str = "analyst", **options: Any) -> Any:
    """A client of clickhouse-connect, as an analyst has it."""
    port = urlsplit(access.url).port
    return clickhouse_connect.get_client(
        host="127.0.0.1", port=port, username=user, database=access.analytics, tz_source="server", **options
    )


async def _fill(access: Access, world: World) -> None:
    client = ClickHouse(access)
    await Migrator(client).apply()
    store = ClickHouseStore(client)
    lease = (await store.latest()).now + 600_000
    for table, found in rows(world).items():
        for at in range(0, len(found), _BLOCK):
            await store.insert(table, found[at : at + _BLOCK], f"{table}:{at}", lease)
    await client.close()


async def _drop(access: Access) -> None:
    client = ClickHouse(access)
    for database in (access.database, access.analytics):
        await client.command(f"DROP DATABASE IF EXISTS {database}")
    await client.close()
