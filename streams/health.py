"""The web server of a worker: /livez, /readyz and /metrics."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

Check = Callable[[], bool]


class HealthServer:
    """Serves one worker. `ready` says whether it does its work; `refresh` updates gauges before each scrape."""

    def __init__(
        self, host: str, port: int, ready: Check, refresh: Callable[[], None] = lambda: None
    ) -> None:
        self._host, self._port, self._ready, self._refresh = host, port, ready, refresh
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen; returns the port (a free one was chosen where 0 was given). Raises OSError if it is taken."""
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close every connection."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _livez(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n") if self._ready() else web.Response(status=503, text="not ready\n")

    async def _metrics(self, request: web.Request) -> web.Response:
        self._refresh()
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
