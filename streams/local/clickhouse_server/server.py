"""The HTTP server: one handler for statements, a few for probes."""

import asyncio
import contextlib
import tempfile
import uuid
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO, Final

from aiohttp import web

from streams.local.clickhouse_server import compression, errors, request, users
from streams.local.clickhouse_server.engine import Connection, Engine, spool_of
from streams.local.clickhouse_server.lanes import Lane, Lanes
from streams.local.clickhouse_server.replies import Reply
from streams.local.clickhouse_server.sessions import Sessions
from streams.local.clickhouse_server.statements import Run

PIECE_BYTES: Final = 1 << 20
_SPOOL_IN_MEMORY: Final = 16 << 20
_LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class Limits:
    """How much at once: body bytes of a request, and statements of each kind."""

    body_bytes: int = 256 << 20
    uploads: int = 32
    admin_queries: int = 16
    inserts: int = 8
    analyst_queries: int = 8


class Server:
    """Answers ClickHouse's HTTP protocol from an engine. To be made inside the event loop."""

    def __init__(
        self, engine: Engine, known: users.Users, limits: Limits, allowed_hosts: frozenset[str] | None
    ) -> None:
        """`allowed_hosts` are the host names (without port) that a request may be addressed to; None for any."""
        self._engine = engine
        self._users = known
        self._limits = limits
        self._hosts = allowed_hosts
        self._spool = str(spool_of(engine.path))
        self._uploads = asyncio.Semaphore(limits.uploads)
        self._inserts = Lanes("inserts", limits.inserts)
        self._queries = {
            users.ADMIN: Lanes("queries", limits.admin_queries),
            users.ANALYST: Lanes("read-only queries", limits.analyst_queries),
        }
        self._kills = Lane("kills")
        self._sessions = Sessions()
        self._running: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/ping", self._ping)
        app.router.add_get("/replicas_status", self._ping)
        app.router.add_route("*", "/", self._statement)
        return app

    async def stop(self) -> None:
        """End every running query; let go of the sessions. Inserts under way are left to their end."""
        await asyncio.gather(*(self._kill(tag) for tag in list(self._running.values())))
        await self._close(self._sessions.take_all())
        for lanes in (self._inserts, *self._queries.values()):
            lanes.close()
        self._kills.close()

    async def expire_sessions(self, every_s: float = 1.0) -> None:
        """Runs for ever: closes the sessions whose time is up."""
        while True:
            await asyncio.sleep(every_s)
            await self._close(self._sessions.take_expired())

    async def _close(self, connections: list[Connection]) -> None:
        for connection in connections:
            await self._kills.run(connection.close)

    async def _ping(self, _: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    async def _statement(self, http: web.Request) -> web.StreamResponse:
        query_id = http.query.get("query_id") or str(uuid.uuid4())
        reply = Reply(http, self._engine, query_id, None)
        try:
            self._check_origin(http)
            user = self._users.authenticate(http.headers, http.query)
            if http.method not in ("GET", "HEAD", "POST"):
                raise errors.EngineError(errors.UNSUPPORTED_METHOD, f"Unsupported HTTP method {http.method}: use POST")
            if http.method == "GET" and not http.query_string:
                return web.Response(text="Ok.\n")
            async with self._uploads:
                ask = await request.read(http, user, spool_of(self._engine.path), self._limits.body_bytes)
        except errors.EngineError as error:
            return await reply.fail(error)
        try:
            if ask.settings.get("enable_http_compression", "1") != "0":
                reply = Reply(http, self._engine, query_id, compression.choose(http.headers.get("Accept-Encoding", "")))
            return await self._answer(ask, query_id, reply)
        except errors.EngineError as error:
            return await reply.fail(error)
        finally:
            ask.close()

    async def _answer(self, ask: request.Ask, query_id: str, reply: Reply) -> web.StreamResponse:
        with self._sessions.use(ask.user, ask.options) as session, self._registered(query_id) as tag:
            run = Run(ask, tag, self._engine.connect, self._running.get, session)
            insert = run.insert_of()
            lanes = self._inserts if insert is not None else self._queries[ask.user]
            async with lanes.lane() as lane:
                try:
                    if insert is not None:
                        await lane.run(lambda: run.insert(insert))
                        return reply.whole(b"", "TabSeparated", run.counts)
                    return await self._result(run, lane, reply)
                finally:
                    await lane.run(run.close)

    async def _result(self, run: Run, lane: Lane, reply: Reply) -> web.StreamResponse:
        pieces = _Packed(run.result(), reply)
        whole = run.ask.flag("wait_end_of_query") or run.ask.settings.get("http_wait_end_of_query") == "1"

        def stop() -> None:
            self._kill(run.tag)

        try:
            if whole:
                with tempfile.SpooledTemporaryFile(_SPOOL_IN_MEMORY, dir=self._spool) as held:
                    size = await lane.run(partial(pieces.fill, held), stop)
                    return await _send_held(held, size, run, lane, reply)
            first, ended = await lane.run(pieces.take, stop)
            if ended:
                return reply.whole(first, run.format, run.counts)
            await reply.begin(run.format, run.counts)
            await reply.send(first)
            while not ended:
                packed, ended = await lane.run(pieces.take, stop)
                await reply.send(packed)
            return await reply.end()
        except errors.EngineError as error:
            return await reply.fail(error)
        finally:
            await lane.run(pieces.close)

    @contextlib.contextmanager
    def _registered(self, query_id: str) -> Iterator[str]:
        if query_id in self._running:
            message = f"Query with id = {query_id} is already running."
            raise errors.EngineError(errors.QUERY_ID_IN_USE, message)
        tag = self._running[query_id] = f"sluice-{uuid.uuid4()}"
        try:
            yield tag
        finally:
            del self._running[query_id]

    def _kill(self, tag: str) -> "asyncio.Task[None]":
        task = asyncio.create_task(self._kills.run(lambda: self._engine.kill(tag)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _check_origin(self, http: web.Request) -> None:
        """A page in a browser on this machine must not reach the database in its user's place."""
        given = http.headers.get("Host", "")
        host = given if given.endswith("]") or ":" not in given else given.rpartition(":")[0]
        if host and self._hosts is not None and host.lower() not in self._hosts:
            raise errors.EngineError(errors.ACCESS_DENIED, f"The server isn't known as {host}: use localhost")
        origin = http.headers.get("Origin")
        if origin is not None and origin not in (f"http://{given}", f"https://{given}"):
            raise errors.EngineError(errors.ACCESS_DENIED, f"Requests by pages of {origin} are not served")


def local_names(host: str) -> frozenset[str] | None:
    """The names by which requests may address a server on `host`: loopback's on loopback, else any (None)."""
    return frozenset({*_LOCAL_NAMES, host}) if host in ("127.0.0.1", "::1", "localhost") else None


class _Packed:
    """A result's pieces as they go on the wire, taken in a lane's thread."""

    def __init__(self, pieces: Generator[bytes, None, None], reply: Reply) -> None:
        self._pieces = pieces
        self._reply = reply
        self._begun = False
        self._failed: errors.EngineError | None = None

    def take(self) -> tuple[bytes, bool]:
        """About a MiB more, and whether that is the end. Raises EngineError: at once if nothing has been taken yet,
        else after what came before it, as the encoder has packed that already."""
        if self._failed is not None:
            raise self._failed
        taken = bytearray()
        try:
            for piece in self._pieces:
                taken += self._reply.pack(piece)
                if len(taken) >= PIECE_BYTES:
                    self._begun = True
                    return bytes(taken), False
        except errors.EngineError as error:
            if not self._begun:
                raise
            self._failed = error
            return bytes(taken), False
        return bytes(taken + self._reply.pack_end()), True

    def fill(self, held: IO[bytes]) -> int:
        """Put everything into `held`; the number of bytes."""
        for piece in self._pieces:
            held.write(self._reply.pack(piece))
        held.write(self._reply.pack_end())
        return held.tell()

    def close(self) -> None:
        self._pieces.close()


async def _send_held(held: IO[bytes], size: int, run: Run, lane: Lane, reply: Reply) -> web.StreamResponse:
    held.seek(0)
    if size <= PIECE_BYTES:
        return reply.whole(held.read(), run.format, run.counts)
    await reply.begin(run.format, run.counts, size)
    while piece := await lane.run(lambda: held.read(PIECE_BYTES)):
        await reply.send(piece)
    return await reply.end()
