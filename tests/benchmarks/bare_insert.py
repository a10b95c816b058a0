"""The baseline of the sink's benchmark: one process that polls, decodes and inserts, and promises nothing.

    python -m tests.benchmarks.bare_insert BROKERS REGISTRY_URL CLICKHOUSE_URL DATABASE [--codec]

The same columns of the same tables through the same client, in blocks of as many rows; fastavro decodes. No ledger,
no tokens, no dead letters, no second look. It reads on while a block is inserted, as anyone would. With --codec it
decodes and encodes blocks by this project's own code instead: what is left then is what exactly once costs.
"""

import argparse
import asyncio
import signal
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import fastavro
import httpx
import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer
from clickhouse_connect.driver import create_async_client
from clickhouse_connect.driver.asyncclient import AsyncClient

from schemas import logical
from schemas.codec import Codec
from schemas.registry import Registry, SchemaStore
from sinks.chunks import Limits
from sinks.clickhouse import Access, ClickHouse
from sinks.rows import EVENT_OF_TOPIC, rows_of
from sinks.store import Row
from sinks.tables import TABLES
from tests.benchmarks.sink_rig import TOPICS

Blocks = dict[str, list[Row]]
Decode = Callable[[Any], Any]
_LINGER_S = Limits().flood_s
_ROWS = Limits().rows


def by_fastavro(schemas: dict[int, Any]) -> Decode:
    """Decodes as the Avro library does, into the events from which rows are made."""

    def decode(record: Any) -> Any:
        value = record.value
        logical.start_event()
        found = fastavro.schemaless_reader(
            BytesIO(value[5:]), schemas[int.from_bytes(value[1:5], "big")], None
        )
        return msgspec.convert(found, EVENT_OF_TOPIC[record.topic])

    return decode


async def insert(client: AsyncClient, blocks: Blocks) -> None:
    """One block a table by the client's own insert."""
    for name, rows in blocks.items():
        table = TABLES[name]
        settings = {"insert_deduplicate": 0, "async_insert": 0}
        await client.insert(
            name, rows, column_names=table.columns, column_type_names=table.types, settings=settings
        )


async def insert_encoded(clickhouse: ClickHouse, blocks: Blocks) -> None:
    """One block a table as the sink writes it, under a token that is never used again."""
    for name, rows in blocks.items():
        await clickhouse.insert(TABLES[name], rows, f"{time.time_ns()}", time.time_ns() // 1_000_000 + 60_000)


async def main(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    store = SchemaStore(Registry(arguments.registry_url, httpx.AsyncClient(timeout=30)))
    await store.lookup_all()
    access = Access(arguments.clickhouse_url, database=arguments.database)
    if arguments.codec:
        codec, clickhouse = Codec(store), ClickHouse(access)
        decode: Decode = lambda r: codec.decode(r.value, EVENT_OF_TOPIC[r.topic])  # noqa: E731
        write: Callable[[Blocks], Any] = lambda blocks: insert_encoded(clickhouse, blocks)  # noqa: E731
    else:
        where = urlsplit(access.url)
        client = await create_async_client(
            host=where.hostname,
            port=where.port,
            database=access.database,
            autogenerate_session_id=False,
            compress=False,
        )
        decode = by_fastavro({i: store.by_id(i).schema for i in store.subject_ids.values()})
        write = lambda blocks: insert(client, blocks)  # noqa: E731
    await loop(arguments, decode, write, stop)


async def loop(
    arguments: argparse.Namespace, decode: Decode, write: Callable[[Blocks], Any], stop: asyncio.Event
) -> None:
    consumer = AIOKafkaConsumer(
        *TOPICS,
        bootstrap_servers=arguments.brokers,
        group_id=f"bare-{arguments.database}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_bytes=4 << 20,
    )
    await consumer.start()
    blocks: Blocks = {}
    count, since, writing = 0, time.monotonic(), None
    while not stop.is_set():
        for records in (await consumer.getmany(timeout_ms=100, max_records=2_000)).values():
            for record in records:
                for table, row in rows_of(decode(record), record):
                    blocks.setdefault(table, []).append(row)
                    count += 1
        if count >= _ROWS or (count and time.monotonic() - since > _LINGER_S):
            if writing is not None:
                await writing
                await consumer.commit()
            writing = asyncio.create_task(write(blocks))
            blocks, count, since = {}, 0, time.monotonic()
    await consumer.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("brokers", "registry_url", "clickhouse_url", "database"):
        parser.add_argument(name)
    parser.add_argument("--codec", action="store_true")
    uvloop.run(main(parser.parse_args()))
