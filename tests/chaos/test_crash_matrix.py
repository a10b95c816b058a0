"""kill -9 at every step boundary of every stage, under load, with two workers a stage: the promise holds."""

import asyncio
import time
import uuid
from typing import Final, get_args

import pytest

from streams.crash import CrashPoint
from tests.chaos.scale import scaled
from tests.pipeline.fleet import Worker
from tests.pipeline.pipeline import Pipeline, load

pytestmark = pytest.mark.asyncio(loop_scope="session")

POINTS: Final[tuple[str, ...]] = get_args(CrashPoint)
# At which passing a worker dies: in the middle of its work, where the point isn't passed once an opening.
PASSING: Final = {"route.opened": 1, "call.after_commit": 2, "classify.before_send": 7}
PER_SECOND: Final = scaled(40, 15)
LEAST: Final = scaled(400, 40)
PATIENCE_S: Final = 20


def test_every_boundary_is_there() -> None:
    """At least twenty crash points, and some in each stage that could lose or double something."""
    assert len(POINTS) >= 20
    assert {point.partition(".")[0] for point in POINTS} == {"classify", "route", "call", "sink", "relay"}


async def died(pipeline: Pipeline, armed: Worker) -> None:
    """Until the armed worker died. One that gets no work takes over that of its peer."""
    peer = pipeline.fleet.workers[armed.place[0], 1]
    deadline = time.monotonic() + PATIENCE_S
    while armed.alive:
        if time.monotonic() > deadline:
            assert peer.alive, f"{armed} never passed its crash point"
            await pipeline.fleet.drain(peer)
            deadline = time.monotonic() + 2 * PATIENCE_S
        await asyncio.sleep(0.05)
    assert armed.code == -9, f"{armed} ended with {armed.code}"
    if not peer.alive:
        pipeline.fleet.start(peer.place)


@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_at(pipeline: Pipeline, point: str) -> None:
    stage = point.partition(".")[0]
    began, prefix = time.monotonic(), f"{point}-{uuid.uuid4().hex[:6]}"
    await pipeline.fleet.drain(pipeline.fleet.workers[stage, 0])
    async with load(pipeline, prefix, PER_SECOND) as sent:
        armed = pipeline.fleet.start((stage, 0), crash_point=f"{point}:{PASSING.get(point, 3)}")
        await died(pipeline, armed)
        died_after, at_death = time.monotonic() - began, len(sent)
        while len(sent) < LEAST or len(sent) < at_death + PER_SECOND:
            await asyncio.sleep(0.05)
    await pipeline.kept()
    await pipeline.fleet.ready()
    mine = [u for u in pipeline.evidence.usage if u.request_id.startswith(prefix)]
    unknown = {u.attempt_id for u in mine if u.status == "unknown"}
    print(
        f"{point}: died after {died_after:.1f} s and {at_death} requests; {len(sent)} requests kept after "
        f"{time.monotonic() - began:.1f} s, {len(unknown)} attempts unknown"
    )
    if not point.startswith("call."):
        assert not unknown, "only a crash of a caller leaves the end of a call unknown"
