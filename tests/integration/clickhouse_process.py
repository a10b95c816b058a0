"""A process of the embedded ClickHouse, for tests."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx

ROOT = Path(__file__).parents[2]
ADMIN_PASSWORD, ANALYST_PASSWORD = "for the admin", "for the analyst"


class Running:
    """A server process on a data directory."""

    def __init__(
        self,
        path: Path,
        *options: str,
        module: str = "streams.local.clickhouse_server",
        first: Sequence[str] = (),
    ) -> None:
        command = [sys.executable, "-m", module, *first, "--path", str(path), "--port", "0"]
        self.process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(self.process.stderr.read())
        self.url = line.split()[-1]
        self.port = int(self.url.rpartition(":")[2])
        self.http = httpx.Client(timeout=60, limits=httpx.Limits(max_connections=None))

    def client(self, user: str = "default", password: str = "", **options: Any) -> Any:
        return clickhouse_connect.get_client(
            host="127.0.0.1", port=self.port, username=user, password=password, **options
        )

    def ask(self, sql: str | bytes, **parameters: Any) -> httpx.Response:
        return self.http.post(self.url, content=sql, params=parameters)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> float:
        """SIGTERM, and how long the end took, in seconds."""
        began = time.monotonic()
        self.process.terminate()
        self.process.wait(30)
        return time.monotonic() - began
