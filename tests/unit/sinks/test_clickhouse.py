"""The client against a server that breaks connections."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sinks.clickhouse import Access, ClickHouse
from sinks.native import Encoder
from sinks.rows import rows_of
from sinks.store import Unavailable
from sinks.tables import TABLES
from tests.fakes import sink_events as events
from tests.unit.sinks.test_rows import AT

NO_SETTINGS = (
    Encoder(["name", "value", "readonly"], ["String", "String", "UInt8"])
    .insert("t", [["async_insert"], ["0"], [0]])
    .split(b"\n", 1)[1]
)


class BreaksInserts:
    """Answers what a client asks when it connects, and drops the connection of each insert when it has read it."""

    def __init__(self) -> None:
        self.inserts = 0

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        if body.startswith(b"INSERT"):
            self.inserts += 1
            assert request.transport is not None
            request.transport.abort()
        return web.Response(body=NO_SETTINGS if b"system.settings" in body else b"24.8.1.1\tUTC\n")


@pytest.fixture
async def breaking() -> AsyncIterator[tuple[BreaksInserts, ClickHouse]]:
    server, app = BreaksInserts(), web.Application()
    app.router.add_route("*", "/{any:.*}", server.answer)
    async with TestServer(app) as running:
        clickhouse = ClickHouse(Access(str(running.make_url("/"))))
        yield server, clickhouse
        await clickhouse.close()


async def test_an_insert_that_is_not_answered_is_sent_once_and_raises(
    breaking: tuple[BreaksInserts, ClickHouse],
) -> None:
    server, clickhouse = breaking
    for sent in (1, 2):  # the second one goes over a connection that is made anew
        with pytest.raises(Unavailable):
            await clickhouse.insert(TABLES["usage"], [rows_of(events.usage(1), AT)[0][1]], "t", lease=1)
        assert server.inserts == sent
