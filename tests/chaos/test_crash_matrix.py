"""kill -9 at every step boundary of every stage, under load, with two workers a stage: the promise holds.

At full size the points are crossed one by one. Scaled down, a worker of each stage dies in one round, so that the
waits for the group's sessions are shared; stages then recover while their neighbours do.
"""

import asyncio
import itertools
import time
import uuid
from typing import Final, get_args

import pytest

from streams.crash import CrashPoint
from tests.chaos.scale import full_size, scaled
from tests.pipeline.fleet import STAGES, Worker
from tests.pipeline.pipeline import Pipeline, load

pytestmark = pytest.mark.asyncio(loop_scope="session")

POINTS: Final[tuple[str, ...]] = get_args(CrashPoint)
# At which passing a worker dies: in the middle of its work, where the point is passed often.
PASSING: Final = {"classify": 3, "call": 3, "call.after_commit": 2, "classify.before_send": 7}
PER_SECOND: Final = scaled(40, 15)
LEAST: Final = scaled(400, 40)
PATIENCE_S: Final = 8


def _stage(point: str) -> str:
    return point.partition(".")[0]


def _rounds() -> list[tuple[str, ...]]:
    if full_size():
        return [(point,) for point in POINTS]
    by_stage = [[p for p in POINTS if _stage(p) == stage] for stage in STAGES]
    return [tuple(p for p in points if p) for points in itertools.zip_longest(*by_stage)]


async def test_every_boundary_is_there() -> None:
    """At least twenty crash points, and some in each stage that could lose or double something."""
    assert len(POINTS) >= 20
    assert {_stage(point) for point in POINTS} == set(STAGES)
    assert sorted(point for points in _rounds() for point in points) == sorted(POINTS)


async def arm(pipeline: Pipeline, point: str) -> Worker:
    """Replace the first worker of the point's stage by one that dies there."""
    place = (_stage(point), 0)
    await pipeline.fleet.drain(pipeline.fleet.workers[place])
    passing = PASSING.get(point, PASSING.get(place[0], 1))
    return pipeline.fleet.start(place, crash_point=f"{point}:{passing}")


async def died(pipeline: Pipeline, armed: Worker) -> None:
    """Until the armed worker died. One that gets no work takes over that of its peer."""
    peer = pipeline.fleet.workers[armed.place[0], 1]
    deadline = time.monotonic() + PATIENCE_S
    while armed.alive:
        if time.monotonic() > deadline:
            assert peer.alive, f"{armed} never passed its crash point"
            await pipeline.fleet.drain(peer)
            deadline = time.monotonic() + 5 * PATIENCE_S
        await asyncio.sleep(0.05)
    assert armed.code == -9, f"{armed} ended with {armed.code}"
    if not peer.alive:
        pipeline.fleet.start(peer.place)


@pytest.mark.parametrize("points", _rounds(), ids="+".join)
async def test_crashes(pipeline: Pipeline, points: tuple[str, ...]) -> None:
    began, prefix = time.monotonic(), f"crash-{uuid.uuid4().hex[:6]}"
    async with load(pipeline, prefix, PER_SECOND) as sent:
        armed = await asyncio.gather(*(arm(pipeline, point) for point in points))
        await asyncio.gather(*(died(pipeline, worker) for worker in armed))
        died_after, at_death = time.monotonic() - began, len(sent)
        while len(sent) < LEAST or len(sent) < at_death + PER_SECOND:
            await asyncio.sleep(0.05)
    await pipeline.kept()
    await pipeline.fleet.ready()
    mine = [u for u in pipeline.evidence.usage if u.request_id.startswith(prefix)]
    unknown = {u.attempt_id for u in mine if u.status == "unknown"}
    print(
        f"{', '.join(points)}: dead after {died_after:.1f} s and {at_death} requests; {len(sent)} requests kept "
        f"after {time.monotonic() - began:.1f} s, {len(unknown)} attempts unknown"
    )
    if "call" not in map(_stage, points):
        assert not unknown, "only a crash of a caller leaves the end of a call unknown"
