"""The sink's core against a store, workers and rebalances that fail wherever they can: each record lands once."""

import asyncio
from typing import Any

from hypothesis import HealthCheck, given, settings, target
from hypothesis import strategies as st

from tests.fakes.sink_store import POISON
from tests.fakes.sink_world import PARTITIONS, World, check, heal, run_for

CONTENTS = st.sampled_from(
    [
        ("results",),
        ("results", "bodies"),
        ("usage",),
        ("results", f"{POISON} bodies"),
        (f"{POISON} usage",),
        ("undecodable",),
    ]
)
FAULTS = st.sampled_from(["none"] * 15 + ["before", "after", "half", "forgets_token", "forgets_rows"])
ACTIONS = ["go"] * 6 + ["run"] * 6 + ["produce"] * 3 + ["kill", "abandon", "zombie", "wait", "stall", "mend"]


async def step(world: World, draw: Any) -> None:
    action = draw(st.sampled_from(ACTIONS))
    ready = sorted(world.waiting)
    if action == "go" and ready:
        world.release(draw(st.sampled_from(ready)), draw(FAULTS))
    elif action == "run" and world.alive():
        await run_for(world, draw(st.sampled_from(world.alive())).name, draw(st.integers(1, 20)))
    elif action == "produce":
        for content in draw(st.lists(CONTENTS, min_size=1, max_size=5)):
            world.log.append(draw(st.sampled_from(PARTITIONS)), content, draw(st.integers(0, 2)))
    elif action == "kill" and world.alive():
        # At the next crash point, or at once: both are places where a process may end.
        worker = draw(st.sampled_from(world.alive()))
        if draw(st.booleans()):
            world.kill_next.add(worker.name)
        else:
            world.end(worker)
    elif action == "abandon" and world.alive():
        # An orderly rebalance: a worker lets go of a partition, another one gets it.
        giver, taker = draw(st.sampled_from(world.alive())), draw(st.sampled_from(world.alive()))
        if giver.owned:
            at = draw(st.sampled_from(sorted(giver.owned)))
            giver.owned.discard(at)
            taker.owned.add(at)
    elif action == "zombie" and len(world.alive()) < 3:
        # A new owner while the old one believes that it still owns all.
        world.start(set(draw(st.sets(st.sampled_from(PARTITIONS), min_size=1))))
    elif action == "wait":
        world.store.now += draw(st.sampled_from([1_000, 20_000]))
    elif action == "stall":
        # Everybody stands still for longer than a lease, requests under way included.
        world.store.now += 70_000
    elif action == "mend":
        world.store.mended = True


async def run(draw: Any) -> World:
    world = World(lambda: draw(st.integers(1, 4)))
    world.start(set(PARTITIONS))
    for _ in range(draw(st.integers(5, 120))):
        await world.settle()
        await step(world, draw)
    await heal(world, lambda: draw(st.booleans()))
    target(float(len(world.store.ledger)), label="ledger versions")
    return world


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_each_record_lands_exactly_once(data: st.DataObject) -> None:
    check(asyncio.run(run(data.draw)))
