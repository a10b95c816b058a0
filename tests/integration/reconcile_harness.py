"""Reconciliations of a test's own topics and database, as the command and the schedule make them."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from schemas import names
from schemas.codec import Codec
from schemas.registry import SchemaStore
from sinks.clickhouse import ClickHouse
from sinks.metrics import NoMetrics
from sinks.patience import Patience
from sinks.reconcile.findings import Finding
from sinks.reconcile.run import Report, Wanted
from sinks.rows import EVENT_OF_TOPIC
from streams.services.reconcile import Setup, reconcile
from tests.integration.sink_harness import Harness

Place = tuple[str, str, int, int]
"""Kind and table of a finding, its partition, and its first offset."""


def setup_of(sink: Harness, clickhouse: ClickHouse | None = None, worker: str = "test") -> Setup:
    """What a reconciliation of a test's own topics needs."""
    return Setup(
        brokers=sink.brokers,
        clickhouse=clickhouse or sink.clickhouse,
        codec=Codec(SchemaStore(None)),
        events={sink.prefix + topic: event for topic, event in EVENT_OF_TOPIC.items()},
        letters=sink.prefix + names.DEAD_LETTERS,
        worker=worker,
        metrics=NoMetrics(),
        patience=Patience(NoMetrics()),
    )


async def run(sink: Harness, *, repair: bool = False, **wanted: Any) -> Report:
    """One reconciliation."""
    return await reconcile(setup_of(sink), Wanted(**wanted), repair=repair)


def places(findings: Sequence[Finding]) -> set[Place]:
    return {(f.kind.value, f.table, f.partition, f.first) for f in findings}


async def settled(sink: Harness, seconds: float = 60) -> None:
    """Return when all that lies on Kafka has landed: when the ledger's tips are the topics' ends."""
    deadline = time.monotonic() + seconds
    while True:
        report = await run(sink)
        if not any(each.waiting for each in report.checked):
            return
        assert time.monotonic() < deadline, [each for each in report.checked if each.waiting]
        await asyncio.sleep(0.1)
