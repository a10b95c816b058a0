"""The client on a real Kafka. The test publishes what route would, in transactions, with its headers and partitions."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from schemas import ids, names
from schemas.codec import Codec
from schemas.control import control_key
from schemas.partition import partition_of
from schemas.records import Control, DeadLetter, RequestEvent, ResultEvent
from schemas.registry import SchemaStore
from sluice import Client, ClientTopics, Conflict, DeadLettered, Handle
from tests.conftest import Admin

PARTITIONS = 4
CODEC = Codec(SchemaStore())


@pytest.fixture
async def topics(admin: Admin, topic_prefix: str) -> ClientTopics:
    own = ClientTopics(*(f"{topic_prefix}{name}" for name in ("requests", "results", "control", "letters")))
    await admin.create(own.requests, own.results, own.control, own.dead_letters, partitions=PARTITIONS)
    return own


class Route:
    """Publishes results and dead letters as the pipeline does."""

    def __init__(self, producer: AIOKafkaProducer, topics: ClientTopics, brokers: str) -> None:
        self.producer = producer
        self.topics = topics
        self.brokers = brokers

    async def result(self, request_id: str, tenant: str = "acme", abort: bool = False, **fields: Any) -> None:
        values: dict[str, Any] = {"event_id": f"e-{request_id}", "kind": "terminal", "status": "succeeded",
                                  "config_version": "v", "accepted_at": 1, "completed_at": 2}  # fmt: skip
        event = ResultEvent(**(values | {"request_id": request_id, "tenant": tenant} | fields))
        headers = [(names.HEADER_TENANT, tenant.encode()), (names.HEADER_REQUEST_ID, request_id.encode()),
                   (names.HEADER_KIND, event.kind.encode())]  # fmt: skip
        await self.producer.begin_transaction()
        await self.producer.send_and_wait(
            self.topics.results, CODEC.encode(event), key=tenant.encode(),
            partition=partition_of(tenant, PARTITIONS), headers=headers,
        )  # fmt: skip
        await (self.producer.abort_transaction() if abort else self.producer.commit_transaction())

    async def dead_letter(self, source: str) -> None:
        letter = DeadLetter(
            id=source, kind="unknown_tenant", stage="classify", reason="unknown_tenant", message="no such tenant",
            at=1, source_topic="t", source_partition=0, source_offset=0, source_timestamp=1, value=b"x",
        )  # fmt: skip
        await self.producer.begin_transaction()
        await self.producer.send_and_wait(self.topics.dead_letters, CODEC.encode(letter), key=source.encode())
        await self.producer.commit_transaction()

    async def read(self, topic: str, count: int) -> list[Any]:
        """The first `count` records of a topic."""
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=self.brokers, auto_offset_reset="earliest")
        await consumer.start()
        try:
            async with asyncio.timeout(20):
                return [await consumer.getone() for _ in range(count)]
        finally:
            await consumer.stop()

    async def source_of(self, request_id: str) -> str:
        """Where a published request lies, as ids name it."""
        consumer = AIOKafkaConsumer(
            self.topics.requests, bootstrap_servers=self.brokers, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            async with asyncio.timeout(20):
                async for record in consumer:
                    if CODEC.decode(record.value, RequestEvent).id == request_id:
                        return ids.dead_letter_id(record.topic, record.partition, record.offset)
        finally:
            await consumer.stop()
        raise AssertionError(request_id)


@pytest.fixture
async def route(kafka_brokers: str, topics: ClientTopics, topic_prefix: str) -> AsyncIterator[Route]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka_brokers, transactional_id=f"{topic_prefix}route")
    await producer.start()
    try:
        yield Route(producer, topics, kafka_brokers)
    finally:
        await producer.stop()


@pytest.fixture
async def client(kafka_brokers: str, topics: ClientTopics) -> AsyncIterator[Client]:
    async with Client(kafka_brokers, topics=topics) as client:
        yield client


async def test_a_request_is_published_and_its_result_awaited(client: Client, route: Route) -> None:
    handle = await client.submit(tenant="acme", prompt="hello", metadata={"team": "search"})
    (record,) = await route.read(route.topics.requests, 1)
    event = CODEC.decode(record.value, RequestEvent)
    assert (event.id, event.prompt, event.metadata) == (handle.request_id, "hello", {"team": "search"})
    assert record.key == b"acme"
    assert not handle.done()
    await route.result(handle.request_id, text="hi")
    result = await handle.result(timeout=20)
    assert (result.status, result.text) == ("succeeded", "hi")


async def test_other_requests_and_aborted_results_are_not_ours(client: Client, route: Route) -> None:
    handle = await client.submit(tenant="acme", prompt="hello", id="r1")
    await route.result("r1", tenant="other", text="another tenant's")
    await route.result("r2", text="another request's")
    await route.result("r1", abort=True, text="never committed")
    await route.result("r1", text="ours")
    assert (await handle.result(timeout=20)).text == "ours"


async def test_waiting_ends_with_its_timeout_and_goes_on_later(client: Client, route: Route) -> None:
    handle = await client.submit(tenant="acme", prompt="hello")
    with pytest.raises(TimeoutError):
        await handle.result(timeout=0.05)
    await route.result(handle.request_id, status="expired", error_class="deadline_exceeded")
    assert (await handle.result(timeout=20)).status == "expired"


async def test_many_are_submitted_in_order_and_each_gets_its_own(client: Client, route: Route) -> None:
    tenants = [f"t{i % 7}" for i in range(200)]
    handles = await client.submit_many(RequestEvent(tenant=t, prompt=str(i)) for i, t in enumerate(tenants))
    assert len({handle.request_id for handle in handles}) == 200
    sent = [CODEC.decode(r.value, RequestEvent) for r in await route.read(route.topics.requests, 200)]
    prompts = {event.id: event.prompt for event in sent}
    assert [prompts[handle.request_id] for handle in handles] == [str(i) for i in range(200)]
    for handle in handles[::20]:
        await route.result(handle.request_id, handle.tenant, text=handle.request_id)
    for handle in handles[::20]:
        assert (await handle.result(timeout=20)).text == handle.request_id
    assert not handles[1].done()


async def test_a_repeated_request_gets_the_first_ones_result(
    kafka_brokers: str, topics: ClientTopics, route: Route
) -> None:
    """The result lies in the past: it was published before this client was there."""
    await route.result("first", text="the only answer")
    await route.result("other", abort=True)
    async with Client(kafka_brokers, topics=topics) as client:
        same = await client.submit(tenant="acme", prompt="hello", id="first")
        keyed = await client.submit(tenant="acme", prompt="hello", id="second", idempotency_key="first")
        for handle in (same, keyed):
            await route.result(
                handle.request_id, event_id=f"n-{handle.request_id}", kind="duplicate", status="duplicate",
                original_request_id="first",
            )  # fmt: skip
            assert (await handle.result(timeout=20)).text == "the only answer"


async def test_a_repeat_of_an_open_request_waits_for_its_result(client: Client, route: Route) -> None:
    repeat = await client.submit(tenant="acme", prompt="hello", id="again", idempotency_key="k")
    await route.result("again", kind="duplicate", status="duplicate", original_request_id="first")
    await route.result("first", text="late")
    assert (await repeat.result(timeout=20)).text == "late"


async def conflict(route: Route, request_id: str, source: str) -> None:
    """The notice that route publishes for the conflicting request that lies at `source`."""
    event_id = ids.event_id("acme", request_id, f"conflict.{source}")
    await route.result(
        request_id, event_id=event_id, kind="conflict", status="conflict", original_request_id=request_id,
        error_message="same id, another body",
    )  # fmt: skip


async def test_a_conflict_ends_the_request_that_conflicts_and_no_other(
    kafka_brokers: str, topics: ClientTopics, client: Client, route: Route
) -> None:
    async with Client(kafka_brokers, topics=topics) as second:
        accepted = await client.submit(tenant="acme", prompt="hello", id="r1")
        source = await route.source_of("r1")
        refused = await second.submit(tenant="acme", prompt="good bye", id="r1")
        (one, two) = await route.read(topics.requests, 2)
        places = {ids.dead_letter_id(r.topic, r.partition, r.offset) for r in (one, two)}
        (other,) = places - {source}
        await conflict(route, "r1", other)
        with pytest.raises(Conflict, match="another body"):
            await refused.result(timeout=20)
        assert not accepted.done()
        await route.result("r1", text="hi")
        assert (await accepted.result(timeout=20)).text == "hi"


async def test_the_same_id_with_another_body_is_refused_at_once(client: Client) -> None:
    first = await client.submit(tenant="acme", prompt="hello", id="r1")
    with pytest.raises(ValueError, match="another body"):
        await client.submit(tenant="acme", prompt="good bye", id="r1")
    assert await client.submit(tenant="acme", prompt="hello", id="r1") is first


async def test_a_dead_letter_ends_its_request(client: Client, route: Route) -> None:
    handle = await client.submit(tenant="nobody", prompt="hello")
    await route.dead_letter(f"{route.topics.requests}-0-999999")
    await route.dead_letter(await route.source_of(handle.request_id))
    with pytest.raises(DeadLettered, match="no such tenant") as caught:
        await handle.result(timeout=20)
    assert caught.value.letter.reason == "unknown_tenant"


async def test_a_result_is_found_again_by_its_id(
    kafka_brokers: str, topics: ClientTopics, route: Route
) -> None:
    began = int(time.time() * 1000)
    await route.result("r1", text="published long ago")
    async with Client(kafka_brokers, topics=topics) as client:
        past = await client.attach("acme", "r1", since_ms=began - 60_000)
        assert (await past.result(timeout=20)).text == "published long ago"
        future = await client.attach("acme", "r2")
        await route.result("r2", text="published later")
        assert (await future.result(timeout=20)).text == "published later"
        too_late = await client.attach("acme", "r3", since_ms=began + 3_600_000)
        assert not too_late.done()


async def test_a_cancel_is_a_command_on_the_control_topic(client: Client, route: Route) -> None:
    handle = await client.submit(tenant="acme", prompt="hello", id="r1")
    await handle.cancel("changed my mind")
    (record,) = await route.read(route.topics.control, 1)
    control = CODEC.decode(record.value, Control)
    assert (control.command, control.tenant, control.request_id) == ("cancel", "acme", "r1")
    assert control.reason == "changed my mind"
    assert record.key == control_key(control)


async def test_handles_that_nobody_keeps_are_forgotten(client: Client, route: Route) -> None:
    await client.submit_many(RequestEvent(tenant="acme", prompt=str(i)) for i in range(50))
    assert len(client._handles) == 0
    kept: Handle = await client.submit(tenant="acme", prompt="kept")
    assert list(client._handles.values()) == [kept]


async def test_without_a_tenant_nothing_is_published(client: Client) -> None:
    with pytest.raises(ValueError, match="needs a tenant"):
        await client.submit(prompt="hello")


async def test_missing_topics_are_named(kafka_brokers: str) -> None:
    with pytest.raises(LookupError, match=r"nowhere-letters or nowhere-results.*sluice topics apply"):
        async with Client(kafka_brokers, topics=ClientTopics("a", "nowhere-results", "b", "nowhere-letters")):
            pass


async def test_with_a_registry_requests_are_in_confluents_wire_format(
    kafka_brokers: str, registry_url: str, topics: ClientTopics, route: Route
) -> None:
    import httpx

    from schemas.registry import Registry

    async with httpx.AsyncClient() as http:
        store = SchemaStore(Registry(registry_url, http))
        await store.register_all()
        async with Client(kafka_brokers, registry_url, topics=topics) as client:
            handle = await client.submit(tenant="acme", prompt="hello")
            (record,) = await route.read(topics.requests, 1)
            assert record.value[0] == 0
            assert Codec(store).decode(record.value, RequestEvent).id == handle.request_id
