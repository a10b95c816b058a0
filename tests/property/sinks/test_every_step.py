"""One fault at each step of the sink in turn, and one worker that takes over there: each record lands once.

Chance finds the same only now and then (`test_exactly_once.py`). Here a fixed load is played again and again: at its
n-th request to the store, n = 1, 2, ..., each fault meets each of the ways in which the worker may go on.
"""

import asyncio
from typing import Literal, get_args

import pytest

from sinks.ledger import Partition
from sinks.register import LEASE_MS
from tests.fakes.sink_store import POISON, Fault
from tests.fakes.sink_world import PARTITIONS, Worker, World, check, heal

Fate = Literal[
    "goes on",
    "is killed",
    "is killed, and its request comes late",
    "is killed, and its request comes when its lease is over",
    "is overtaken",
    "gives away",
]

LOAD: list[tuple[Partition, tuple[str, ...]]] = [
    (PARTITIONS[0], ("results", "bodies")),
    (PARTITIONS[0], ("results", f"{POISON} bodies")),
    (PARTITIONS[0], ("undecodable",)),
    *[(PARTITIONS[1], ("results",))] * 4,
    (PARTITIONS[2], ("usage",)),
    (PARTITIONS[2], (f"{POISON} usage",)),
    *[(PARTITIONS[2], ("usage",))] * 2,
]
_IDLE_POLLS = 3
_MOST_STEPS = 300


async def play(at: int, fault: Fault, fate: Fate) -> bool:
    """One run; False where the load was through before its request number `at`."""
    world = World(most=lambda: 2)
    for number, (partition, content) in enumerate(LOAD):
        world.log.append(partition, content, hole=number % 2)
    first = world.start(set(PARTITIONS))
    reached = await _run_to(world, first, at)
    if reached:
        await _meet(world, first, fault, fate)
    await heal(world, lambda: False)
    check(world)
    return reached


async def _run_to(world: World, worker: Worker, at: int) -> bool:
    """Let `worker` come to its request number `at`; False where it has nothing to do any more."""
    idle = 0
    for step in range(1, _MOST_STEPS):
        await world.settle()
        [(number, what)] = [(n, what) for n, (name, what, _) in world.waiting.items() if name == worker.name]
        idle = idle + 1 if what == "poll" else 0
        if idle > _IDLE_POLLS:
            return False
        if step == at:
            return True
        world.release(number, "none")
    raise AssertionError("no end in sight")


async def _meet(world: World, worker: Worker, fault: Fault, fate: Fate) -> None:
    """The request that `worker` waits for ends in `fault`, and the worker in `fate`."""
    [number] = world.waiting
    if fate == "is killed":
        world.end(worker)
    elif fate.startswith("is killed, and its request comes"):
        world.end(worker)
        await _run_to(world, world.start(set(PARTITIONS)), _MOST_STEPS - 1)
        if "lease" in fate:  # the store has forgotten the token by then
            world.store.now += LEASE_MS + 1
    elif fate == "is overtaken":
        await _run_to(world, world.start(set(PARTITIONS)), _MOST_STEPS - 1)
    elif fate == "gives away":
        taken = {PARTITIONS[0], PARTITIONS[2]}
        worker.owned -= taken
        world.start(taken)
    if number in world.waiting and not world.waiting[number][2].done():  # a read ends with its worker
        world.release(number, fault)


@pytest.mark.parametrize("fate", get_args(Fate))
@pytest.mark.parametrize("fault", get_args(Fault))
def test_a_fault_at_any_step_loses_and_doubles_nothing(fault: Fault, fate: Fate) -> None:
    async def every() -> int:
        at = 1
        while await play(at, fault, fate):
            at += 1
        return at

    assert asyncio.run(every()) > 20, "the load is hardly a load"
