"""Reply topics that refuse results, and ones that are deleted: the others' results go on."""

import asyncio
import time
from typing import Any

import pytest

from streams.services.relay import Relay
from tests.integration.relay_harness import (
    CODEC,
    Counts,
    Place,
    copied,
    count,
    event_ids,
    letters,
    place,
    publish,
    relaying,
    result,
    true,
    until,
)

AN_HOUR_AGO = {"timestamp_ms": int((time.time() - 3600) * 1000)}


@pytest.mark.parametrize(
    ("settings", "refused", "error"),
    [
        ({"max_message_bytes": 2000}, {"padding": 4000}, "MessageSizeTooLarge"),
        ({"message_timestamp_before_max_ms": 60_000}, AN_HOUR_AGO, "InvalidTimestamp"),
        ({"cleanup_policy": "compact"}, {"key": None}, "InvalidRecord"),
    ],
)
async def test_what_a_topic_refuses_is_a_dead_letter_and_the_rest_goes_on(
    admin: Any, kafka_brokers: str, topic_prefix: str, settings: Any, refused: Any, error: str
) -> None:
    here = await place(admin, kafka_brokers, topic_prefix, partitions=1)
    picky = f"{here.prefix}picky"
    await admin.create(picky, partitions=2, **settings)
    for n in range(0, 9, 3):
        await publish(here, range(n, n + 1), here.replies, partitions=1)
        await publish(here, range(n + 1, n + 2), picky, partitions=1)
        await publish(here, range(n + 2, n + 3), picky, partitions=1, **refused)
    async with relaying(here) as (relay, counts):
        await until(lambda: true(counts.made == 6 and len(counts.reasons) == 3))
        assert relay.ready()
    assert counts.reasons == ["reply_topic_refused"] * 3
    assert await copied(here) == event_ids(0, 3, 6)
    assert sorted(await copied(here, picky)) == event_ids(1, 4, 7)
    found = await letters(here)
    assert [letter.request_id for letter in found] == ["r2", "r5", "r8"]
    assert all(letter.reason == "reply_topic_refused" and error in letter.message for letter in found)
    assert found[0].value == result(2, picky)


async def test_results_that_fit_one_by_one_are_copied_though_their_batch_does_not(
    admin: Any, kafka_brokers: str, topic_prefix: str
) -> None:
    here = await place(admin, kafka_brokers, topic_prefix, partitions=1)
    small = f"{here.prefix}small"
    await admin.create(small, max_message_bytes=2000)
    await publish(here, range(8), small, partitions=1, padding=1000)
    async with relaying(here) as (_, counts):
        await until(lambda: true(counts.made == 8))
    assert counts.reasons == []
    assert await copied(here, small) == event_ids(*range(8))


async def test_a_refusal_is_written_once_over_restarts(
    admin: Any, kafka_brokers: str, topic_prefix: str
) -> None:
    here = await place(admin, kafka_brokers, topic_prefix, partitions=1)
    small = f"{here.prefix}small"
    await admin.create(small, max_message_bytes=2000)
    for start in (0, 2):
        await publish(here, range(start, start + 1), small, partitions=1, padding=4000)
        await publish(here, range(start + 1, start + 2), here.replies, partitions=1)
        async with relaying(here) as (_, counts):
            await until(lambda counts=counts: true(counts.made == 1))
        assert counts.reasons == ["reply_topic_refused"]
    assert await copied(here) == event_ids(1, 3)
    assert [letter.request_id for letter in await letters(here)] == ["r0", "r2"]


async def test_a_topic_deleted_lately_is_a_missing_one(
    admin: Any, kafka_brokers: str, topic_prefix: str
) -> None:
    here = await place(admin, kafka_brokers, topic_prefix, partitions=1)
    here.overrides["topics_age_ms"] = 200
    deleted = f"{here.prefix}deleted"
    await admin.create(deleted)
    await publish(here, range(1), deleted, partitions=1)
    async with relaying(here) as (_, counts):
        await until(lambda: true(counts.made == 1))
        await admin.client.delete_topics([deleted])
        await asyncio.sleep(1)
        await publish(here, range(1, 2), deleted, partitions=1)
        await publish(here, range(2, 3), here.replies, partitions=1)
        await until(lambda: true(counts.made == 2))
    assert counts.reasons == ["reply_topic_missing"]
    assert await copied(here) == event_ids(2)


async def deleted_under_way(admin: Any, brokers: str, prefix: str) -> tuple[Place, "asyncio.Task[None]", Any]:
    """A relay that believes a deleted topic to exist and has begun a transaction with a copy for it."""
    here = await place(admin, brokers, prefix, partitions=1)
    here.overrides |= {
        "topics_age_ms": 3_600_000,
        "transaction_timeout_ms": 2000,
        "transaction_grace_ms": 500,
    }
    deleted = f"{here.prefix}deleted"
    await admin.create(deleted)
    await publish(here, range(1), deleted, partitions=1)
    stop, counts = asyncio.Event(), Counts()
    running = asyncio.create_task(Relay(here.settings, CODEC, counts, lambda: 7).run(stop))
    await until(lambda: true(counts.made == 1))
    await admin.client.delete_topics([deleted])
    await asyncio.sleep(1)
    await publish(here, range(1, 2), deleted, partitions=1)
    await publish(here, range(2, 3), here.replies, partitions=1)
    return here, running, stop


async def test_a_topic_deleted_under_way_ends_the_worker_and_its_successor_goes_on(
    admin: Any, kafka_brokers: str, topic_prefix: str
) -> None:
    here, running, _ = await deleted_under_way(admin, kafka_brokers, topic_prefix)
    with pytest.raises(TimeoutError, match="deleted"):
        await asyncio.wait_for(running, 20)
    left = [t for t in asyncio.all_tasks() if "_sender_routine" in repr(t)]
    assert left == [], "nothing goes on asking for the topic"
    async with relaying(here) as (_, counts):
        await until(lambda: true(counts.made == 1))
    assert counts.reasons == ["reply_topic_missing"]
    assert await copied(here) == event_ids(2)


async def test_a_worker_whose_transaction_hangs_still_ends_when_it_is_told_to(
    admin: Any, kafka_brokers: str, topic_prefix: str
) -> None:
    here, running, stop = await deleted_under_way(admin, kafka_brokers, topic_prefix)
    await asyncio.sleep(0.5)
    assert not running.done()
    stop.set()
    ended, _ = await asyncio.wait([running], timeout=20)
    assert ended
    assert isinstance(running.exception(), TimeoutError)
    assert not await count(here, 1)
