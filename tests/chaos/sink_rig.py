"""What the sink's fault runs share: a load that goes on, an engine of the run's own, and a disk that fills up."""

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

from schemas import names
from tests.fakes import sink_events as events
from tests.integration.reconcile_harness import run
from tests.integration.sink_harness import TABLES_OF_TOPIC, Engine, Event, Harness, until_async
from tests.integration.test_sink import mixed

EVENTS = 6
"""The events of a request, each with a row in its topic's own table."""
_REQUESTS_A_TURN = 20


def whole(first: int, count: int) -> list[tuple[str, Event]]:
    """The events of finished requests."""
    return [
        *mixed(count, first),
        *((names.AUDIT, events.audit(n, "finalised")) for n in range(first, first + count)),
    ]


class Load:
    """Publishes the events of requests until it is told to end; `requests` counts them."""

    def __init__(self, sink: Harness, per_s: float, transactions: int = 0) -> None:
        self._sink = sink
        self._per_s = per_s
        self._transactions = transactions
        self._ended = False
        self.requests = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            self._ended = True
            await task

    async def _run(self) -> None:
        began = time.monotonic()
        while not self._ended:
            size = max(_REQUESTS_A_TURN, int(self._per_s / 4))
            await self._sink.publish(whole(self.requests, size), transactions=self._transactions)
            self.requests += size
            await asyncio.sleep(max(0.0, began + self.requests / self._per_s - time.monotonic()))


async def some_landed(sink: Harness, rows: int) -> None:
    """Return when so many rows are there, more of them under way or not."""

    async def there() -> bool:
        return await sink.landed() >= rows

    await until_async(there, 120, f"{rows} rows")


async def check_every_table(sink: Harness, requests: int) -> None:
    """Each record has its one row in each of its tables. Compares offset sets; counts alone may agree by chance."""
    assert await sink.check() == requests * EVENTS
    accepted = {f"{name} WHERE action = 'accepted'" for name in TABLES_OF_TOPIC[names.AUDIT]}
    for table, like in {"bodies": {"results"}, "requests": accepted, "decisions": accepted}.items():
        wanted, found = await sink.in_clickhouse(*like), await sink.in_clickhouse(table)
        assert found == wanted, (
            f"{table}: lost {list(wanted - found)[:5]}, doubled {list(found - wanted)[:5]}"
        )
    report = await run(sink)
    assert (report.gaps, report.findings) == (0, []), (
        "the sink's own comparison finds gaps where this one has none"
    )


class SmallDisk(Engine):
    """An engine on a disk of `size_mb`, which `fill` fills up to the last bytes: a tmpfs in a namespace of its own.

    Where this machine lets nobody mount one, the engine refuses inserts as it does when the disk is nearly full.
    """

    def __init__(self, path: Path, size_mb: int = 400) -> None:
        super().__init__(path)
        path.mkdir()
        mount = f"mount -t tmpfs -o size={size_mb}m tmpfs '{path}'"
        self.mounts = (
            subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode == 0
        )
        if self.mounts:
            self._before = ["unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh"]

    def command(self) -> list[str]:
        return [*self._before, *super().command()] if self.mounts else super().command()

    def _ballast(self) -> Path:
        assert self.pid is not None
        return Path(f"/proc/{self.pid}/root{self.path}") / "ballast"

    async def fill(self, sink: Harness) -> None:
        if not self.mounts:
            return await self._refuse(
                sink, "MODIFY SETTING min_free_disk_bytes_to_perform_insert = 1000000000000000"
            )
        with self._ballast().open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(1 << 16)):
                pass

    async def free(self, sink: Harness) -> None:
        if not self.mounts:
            return await self._refuse(sink, "RESET SETTING min_free_disk_bytes_to_perform_insert")
        self._ballast().unlink()

    async def _refuse(self, sink: Harness, change: str) -> None:
        for table in ("usage", "sink_ledger"):
            await sink.clickhouse.command(f"ALTER TABLE {sink.access.database}.{table} {change}")
