"""Every worker is restarted in turn, in order, under load: nothing is lost, doubled, or paid twice."""

import asyncio
import time
import uuid

import pytest

from tests.chaos.scale import scaled
from tests.pipeline.pipeline import Pipeline, load, requests

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_rolling_restart_of_every_worker(pipeline: Pipeline) -> None:
    """SIGTERM, wait for the end, start the next version, wait until it is ready: worker by worker."""
    prefix = f"rolling-{uuid.uuid4().hex[:8]}"
    longest, order = 0.0, sorted(pipeline.fleet.workers)
    async with load(pipeline, prefix, scaled(60, 20), prompt=f"{prefix} [[latency:400]]") as sent:
        for place in order * scaled(3, 1):
            began = time.monotonic()
            await pipeline.fleet.drain(pipeline.fleet.workers[place])
            longest = max(longest, time.monotonic() - began)
            await pipeline.fleet.ready([pipeline.fleet.start(place)])
    await pipeline.kept()
    terminal = pipeline.evidence.terminal()
    assert {result.status for request in sent for result in terminal[request]} == {"succeeded"}
    counts = await asyncio.to_thread(pipeline.provider.counts)
    calls = sum(n for prompt, n in counts["by_prompt"].items() if prompt.startswith(prefix))
    assert calls == len(sent), "the provider was called more often than there are requests"
    mine = [u for u in pipeline.evidence.usage if u.request_id.startswith(prefix)]
    assert not [u for u in mine if u.status == "unknown" or u.corrects]
    print(f"{len(sent)} requests through {len(order)} restarts; the longest drain took {longest:.1f} s")


async def test_a_restart_of_broker_registry_and_clickhouse_under_workers(pipeline: Pipeline) -> None:
    """The workers live through it: they wait, go on where they were, and nothing is doubled."""
    prefix = f"parts-{uuid.uuid4().hex[:8]}"
    for number in range(scaled(3, 1)):
        events = requests(f"{prefix}-{number}", scaled(1000, 200), prompt=f"{prefix} [[latency:400]]")
        await pipeline.publish(*events)
        await pipeline.restart_stack()
        more = requests(f"{prefix}-{number}-after", 60)
        await pipeline.publish(*more)
        await pipeline.results((e.tenant, e.id) for e in [*events, *more])
    await pipeline.kept()
    mine = [r for (_, i), [r] in pipeline.evidence.terminal().items() if i.startswith(prefix)]
    assert {r.status for r in mine} == {"succeeded"}
