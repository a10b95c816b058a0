"""A TCP proxy before ClickHouse that breaks connections where a test says: in mid-insert, or when it was applied."""

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Literal

Fate = Literal["pass", "cut request", "cut reply", "hold reply", "halfway"]
"""What becomes of an insert.

cut request: half of it goes on, then both connections break. cut reply: all of it goes on, and they break when the
answer comes. hold reply: the answer never comes. halfway: a `share` of it goes on, and the rest when `halfway` returns.
"""

_INSERT = re.compile(rb"INSERT INTO `\w+`\.`(\w+)`")


class Proxy:
    """Forwards connections to `port` of this machine; `fate` is asked for each insert, with its table.

    `done` counts what became of inserts. `under_way` are the tables of inserts that have begun and have no answer.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self.fate: Callable[[str], Fate] = lambda table: "pass"
        self.halfway: Callable[[], Awaitable[None]] | None = None
        self.share = 0.5
        self.done: Counter[Fate] = Counter()
        self.under_way: Counter[str] = Counter()

    async def start(self) -> str:
        """Listen; returns the URL."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Break every connection."""
        assert self._server is not None
        self._server.close()
        for task in list(self._links):
            task.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        try:
            await _Link(self, reader, writer).run(self._target)
        except (OSError, asyncio.CancelledError):
            pass  # either side may break off, and so does the test at its end
        finally:
            writer.transport.abort()
            self._links.discard(task)


class _Link:
    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._near = reader, writer
        self._table: str | None = None
        self._fate: Fate = "pass"

    async def run(self, port: int) -> None:
        far = await asyncio.open_connection("127.0.0.1", port)
        ways = [asyncio.create_task(self._requests(far[1])), asyncio.create_task(self._answers(far[0]))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._over()
            far[1].transport.abort()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _requests(self, far: asyncio.StreamWriter) -> None:
        seen = b""
        while data := await self._near[0].read(1 << 16):
            found = _INSERT.search(seen[-100:] + data) if self._table is None else None
            seen = data
            if found is not None:
                self._table = found[1].decode()
                self._fate = self._proxy.fate(self._table)
                self._proxy.done[self._fate] += 1
                self._proxy.under_way[self._table] += 1
                if self._fate in ("cut request", "halfway"):
                    cut = int(len(data) * self._proxy.share)
                    far.write(data[:cut])
                    await far.drain()
                    if self._fate == "cut request":
                        return
                    assert self._proxy.halfway is not None
                    await self._proxy.halfway()
                    data = data[cut:]
            far.write(data)
            await far.drain()

    async def _answers(self, far: asyncio.StreamReader) -> None:
        while data := await far.read(1 << 16):
            if self._fate == "cut reply":
                return
            if self._fate == "hold reply":
                continue
            self._over()
            self._near[1].write(data)
            await self._near[1].drain()

    def _over(self) -> None:
        if self._table is not None:
            self._proxy.under_way[self._table] -= 1
        self._table, self._fate = None, "pass"
