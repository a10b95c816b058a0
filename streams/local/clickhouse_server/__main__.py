"""python -m streams.local.clickhouse_server --path DIR --port PORT

Exit status: 0 after SIGTERM or SIGINT, 2 if it can't start (the reason is the last line on stderr).
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from streams.local.clickhouse_server.engine import Engine, EngineUnavailable
from streams.local.clickhouse_server.server import Limits, Server, local_names
from streams.local.clickhouse_server.users import PasswordUnreadable, Users

_CLOSE_S: Final = 3.0
_FLUSH_S: Final = 1.0
_MAX_LINE_BYTES: Final = 1 << 20


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m streams.local.clickhouse_server", description=__doc__)
    parser.add_argument("--path", type=Path, required=True, help="data directory, made if need be")
    parser.add_argument("--port", type=int, required=True, help="TCP port to listen on; 0 chooses a free one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--admin-password-file", type=Path, help="password of the user default")
    parser.add_argument("--readonly-password-file", type=Path, help="password of the user analyst")
    parser.add_argument("--max-memory-mb", type=int, default=4096, help="the engine's bound (default: %(default)s)")
    parser.add_argument("--fsync", action="store_true", help="sync each insert to disk before it is answered")
    return parser.parse_args()


async def _serve(engine: Engine, known: Users, host: str, port: int) -> None:
    server = Server(engine, known, Limits(), local_names(host))
    runner = web.AppRunner(
        server.app(),
        access_log=None,
        handler_cancellation=True,
        auto_decompress=False,
        max_line_size=_MAX_LINE_BYTES,
        max_field_size=_MAX_LINE_BYTES,
        shutdown_timeout=_CLOSE_S - 1,
    )
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await runner.setup()
    await web.TCPSite(runner, host, port, backlog=1024).start()
    print(f"ClickHouse {engine.version} listens on http://{host}:{runner.addresses[0][1]}", flush=True)
    expiry = asyncio.create_task(server.expire_sessions())
    stopping = asyncio.create_task(stopped.wait())
    await asyncio.wait([expiry, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    expiry.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await expiry
    await _within(_CLOSE_S, _close(server, runner))
    # Flushes what only a server's end flushes (Buffer tables). What an insert was answered for is on disk.
    await _within(_FLUSH_S, asyncio.to_thread(engine.close))
    os._exit(0)  # threads may outlast a query that doesn't heed its end, and would hold up an ordinary exit


async def _close(server: Server, runner: web.AppRunner) -> None:
    await server.stop()
    await runner.cleanup()


async def _within(seconds: float, work: Coroutine[Any, Any, None]) -> None:
    await asyncio.wait([asyncio.create_task(work)], timeout=seconds)


def main() -> None:
    arguments = _arguments()
    try:
        known = Users.from_files(arguments.admin_password_file, arguments.readonly_password_file)
        memory = arguments.max_memory_mb << 20
        engine = Engine.open(arguments.path, max_memory_bytes=memory, fsync=arguments.fsync)
        asyncio.run(_serve(engine, known, arguments.host, arguments.port))
    except (EngineUnavailable, PasswordUnreadable, OSError) as error:
        print(f"clickhouse_server: {error}", file=sys.stderr, flush=True)
        os._exit(2)


if __name__ == "__main__":
    main()
