"""The outbox under faults: whatever happens to workers and broker, each id comes out exactly once."""

import asyncio
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from streams.local.stack import Stack
from tests.chaos.harness import (
    Topics,
    Workers,
    check_exactly_once,
    publish,
    random_faults,
    read_all,
    until,
    wait_for_output,
    wait_until_consumed,
)
from tests.chaos.scale import scaled

SEED = 20_261_123


@pytest.fixture
async def topics(kafka_brokers: str) -> Topics:
    return await Topics.create(kafka_brokers)


@pytest.fixture
def workers(topics: Topics, tmp_path: Path) -> Iterator[Workers]:
    started = Workers(topics, tmp_path)
    yield started
    started.close()


@pytest.mark.parametrize(
    "faults", [("join", "leave"), ("kill", "join", "leave"), ("zombie", "join", "kill")], ids="-".join
)
async def test_each_id_once_through_faults(topics: Topics, workers: Workers, faults: tuple[str, ...]) -> None:
    ids, seconds = range(scaled(100_000, 12_000)), scaled(80, 16)
    rng = random.Random(SEED)
    print(f"seed {SEED}, {len(ids)} ids, {seconds} s of {faults}")
    _, done = await asyncio.gather(
        publish(topics, ids, over_s=seconds * 0.9), random_faults(workers, rng, seconds, faults)
    )
    await wait_for_output(topics, len(ids), 90)
    await check_exactly_once(topics, ids)
    print("faults done:", dict(done))
    assert done


async def take_over_from_a_zombie(topics: Topics, workers: Workers, isolation: str) -> range:
    """A worker stops itself after the outputs of its third transaction, another takes over, and the first goes on.

    Each id must have come out once, whatever the workers' isolation level. The abort of the zombie's transaction
    must come from the new owner's fencing: it's waited for a shorter time than the transaction may take. Returns the
    ids.
    """
    patience_s = scaled(200, 40)
    workers.options = (
        "--isolation", isolation, "--transaction-timeout-ms", str((patience_s + 20) * 1000)
    )  # fmt: skip
    first, ids = range(scaled(60_000, 3000)), range(scaled(100_000, 5000))
    zombie = workers.start(crash_point="route.after_outputs:3:stop")
    await publish(topics, first, over_s=2)
    await until(lambda: _is_stopped(workers, zombie), 30, "the worker to stop inside a transaction")
    workers.start()
    await wait_until_consumed(topics, patience_s)
    workers.signal(zombie, signal.SIGCONT)
    await publish(topics, ids[len(first) :])
    await wait_until_consumed(topics, scaled(120, 60))
    await check_exactly_once(topics, ids)
    return ids


def _is_stopped(workers: Workers, name: str) -> bool:
    status = Path(f"/proc/{workers.processes[name].pid}/stat").read_text()
    return status.rsplit(")", 1)[1].split()[0] == "T"


async def test_a_zombies_transaction_is_aborted_by_fencing(topics: Topics, workers: Workers) -> None:
    ids = await take_over_from_a_zombie(topics, workers, "read_committed")
    # The zombie's aborted records lie in the log: a reader that doesn't read committed sees ids twice.
    with pytest.raises(AssertionError, match="more than once"):
        await check_exactly_once(topics, ids, isolation="read_uncommitted")


async def test_workers_that_read_uncommitted_break_the_promise(topics: Topics, workers: Workers) -> None:
    """The very same, with the one option changed. What the dead transaction wrote is taken for done, or done twice."""
    with pytest.raises(AssertionError, match=r"ids lost|more than once|differs"):
        await take_over_from_a_zombie(topics, workers, "read_uncommitted")


async def test_aborted_input_is_never_processed(topics: Topics, workers: Workers) -> None:
    workers.start()
    producer = AIOKafkaProducer(
        bootstrap_servers=topics.brokers, transactional_id=f"{topics.prefix}-publisher"
    )
    await producer.start()
    for number, commit in ((0, True), (1, False), (2, True), (3, False), (4, True)):
        await producer.begin_transaction()
        for partition in range(topics.partitions):
            await producer.send_and_wait(
                topics.name("in"), b"id", key=b"%d" % (number * 10 + partition), partition=partition
            )
        await (producer.commit_transaction() if commit else producer.abort_transaction())
    await producer.stop()
    await wait_for_output(topics, 3 * topics.partitions, 40)
    keys = {int(k) // 10 for k, _ in await read_all(topics, "out")}
    assert keys == {0, 2, 4}


async def test_a_hanging_transaction_only_delays(topics: Topics, workers: Workers) -> None:
    workers.start()
    hanging = AIOKafkaProducer(
        bootstrap_servers=topics.brokers,
        transactional_id=f"{topics.prefix}-hangs",
        transaction_timeout_ms=8000,
    )
    await hanging.start()
    await hanging.begin_transaction()
    for partition in range(topics.partitions):
        await hanging.send_and_wait(topics.name("out"), b"hidden", key=b"hidden", partition=partition)
    ids = range(scaled(100_000, 2000))
    await publish(topics, ids)
    await wait_for_output(topics, len(ids), scaled(180, 60))
    await check_exactly_once(topics, ids)
    await hanging.stop()


async def test_a_poison_record_is_dead_lettered_alone(topics: Topics, workers: Workers) -> None:
    workers.start()
    poison = frozenset({5, 900, 901})
    await publish(topics, range(2000), poison=poison)
    await wait_for_output(topics, 2000 - len(poison), 60)
    dead = {int(k) for k, _ in await read_all(topics, "dead")}
    assert dead == poison
    await check_exactly_once(topics, range(2000), dead=poison)


async def test_a_broker_that_is_killed_and_comes_back(new_stack: Callable[[], Stack], tmp_path: Path) -> None:
    stack = new_stack()
    topics = await Topics.create(stack.up(["kafka"]).brokers)
    workers = Workers(topics, tmp_path)
    ids = range(scaled(100_000, 6000))
    try:
        workers.start()
        workers.start()
        publishing = asyncio.create_task(publish(topics, ids, over_s=scaled(60, 20)))
        await wait_for_output(topics, len(ids) // 4, scaled(120, 60))
        (broker,) = [part for part in stack.status() if part.name == "kafka"]
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGKILL)
        await asyncio.to_thread(stack.up, ["kafka"])
        await publishing
        await wait_for_output(topics, len(ids), scaled(240, 90))
        await check_exactly_once(topics, ids)
    finally:
        workers.close()
