"""The codec against the real registry, and against events that another client's serializer wrote."""

import copy
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from schemas import definitions
from schemas.codec import Codec
from schemas.records import ClassifiedRequest, Control, RequestEvent, ResultEvent
from schemas.registry import (
    SUBJECTS,
    IncompatibleSchema,
    Registry,
    RegistryUnreachable,
    SchemaStore,
)
from schemas.signals import Invalid

REQUEST = RequestEvent(id="r1", tenant="acme", prompt="hello", metadata={"team": "search"})


@pytest.fixture
async def registry(registry_url: str) -> AsyncIterator[Registry]:
    async with httpx.AsyncClient() as http:
        yield Registry(registry_url, http)


@pytest.fixture
async def codec(registry: Registry) -> Codec:
    store = SchemaStore(registry)
    await store.register_all()
    return Codec(store)


async def test_a_worker_looks_up_what_was_registered(codec: Codec, registry: Registry) -> None:
    worker = SchemaStore(registry)
    assert await worker.lookup_all() == codec.store.subject_ids
    assert set(worker.subject_ids) == set(SUBJECTS)
    assert Codec(worker).decode(codec.encode(REQUEST, "llm.requests"), RequestEvent) == REQUEST


async def test_registering_again_changes_nothing(codec: Codec) -> None:
    before = dict(codec.store.subject_ids)
    assert await codec.store.register_all() == before


async def test_subjects_follow_the_topic_or_the_record(codec: Codec) -> None:
    control = Control(event_id="e", command="pause", at=1, actor="me", model="m")
    ids = codec.store.subject_ids
    for topic, subject in (("llm.control", "llm.control-value"), ("llm.tenant-events", "sluice.Control")):
        assert codec.encode(control, topic)[:5] == b"\x00" + ids[subject].to_bytes(4, "big")


async def test_every_released_schema_can_follow_and_be_followed(registry: Registry, codec: Codec) -> None:
    for (version, name), schema in definitions.released().items():
        for subject in (s for s, record in SUBJECTS.items() if record == name):
            assert await registry.compatible(subject, schema), f"{subject} against release {version}"


@pytest.mark.parametrize("change", ["field without default", "removed field", "other type"])
async def test_the_registry_refuses_a_breaking_change(codec: Codec, registry: Registry, change: str) -> None:
    schema = copy.deepcopy(definitions.self_contained("sluice.Feedback"))
    if change == "field without default":
        schema["fields"].append({"name": "more", "type": "string"})
    elif change == "removed field":
        schema["fields"] = [f for f in schema["fields"] if f["name"] != "tenant"]
    else:
        next(f for f in schema["fields"] if f["name"] == "tenant")["type"] = "long"
    assert not await registry.compatible("llm.feedback-value", schema)
    with pytest.raises(IncompatibleSchema):
        await registry.register("llm.feedback-value", schema)


async def test_an_unregistered_subject_is_named(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SUBJECTS, "llm.never-registered-value", "sluice.Feedback")
    with pytest.raises(LookupError, match=r"llm\.never-registered-value.*sluice topics apply"):
        await SchemaStore(registry).lookup_all()


def confluent(registry_url: str) -> SchemaRegistryClient:
    return SchemaRegistryClient({"url": registry_url})


async def test_confluents_avro_serializer_interoperates(codec: Codec, registry_url: str) -> None:
    """A publisher with a schema of its own: three fields, registered by its client under a topic of its own."""
    schema = """{"type": "record", "name": "RequestEvent", "namespace": "sluice", "fields": [
        {"name": "id", "type": "string", "default": ""}, {"name": "tenant", "type": "string", "default": ""},
        {"name": "prompt", "type": ["null", "string"], "default": null}]}"""
    serializer = AvroSerializer(confluent(registry_url), schema)
    context = SerializationContext("interop", MessageField.VALUE)
    data = serializer({"id": "r1", "tenant": "acme", "prompt": "hello"}, context)
    assert data is not None and data[0] == 0
    assert await codec.decode_async(data, RequestEvent) == RequestEvent(
        id="r1", tenant="acme", prompt="hello"
    )


async def test_confluents_avro_serializer_takes_our_registered_schema(
    codec: Codec, registry_url: str
) -> None:
    settings = {"auto.register.schemas": False, "use.latest.version": True,
                "subject.name.strategy": topic_subject_name_strategy}  # fmt: skip
    serializer = AvroSerializer(confluent(registry_url), conf=settings)
    context = SerializationContext("llm.requests", MessageField.VALUE)
    data = serializer(
        {"id": "r1", "tenant": "acme", "prompt": "hello", "metadata": {"team": "search"}}, context
    )
    assert codec.decode(data, RequestEvent) == REQUEST


async def test_confluents_avro_deserializer_reads_our_results(codec: Codec, registry_url: str) -> None:
    result = ResultEvent(
        event_id="e", kind="terminal", request_id="r1", tenant="acme", status="succeeded",
        config_version="v", accepted_at=1, completed_at=2, text="hi",
    )  # fmt: skip
    read = AvroDeserializer(confluent(registry_url))(
        codec.encode(result, "llm.results"), SerializationContext("llm.results", MessageField.VALUE)
    )
    assert (read["request_id"], read["status"], read["text"]) == ("r1", "succeeded", "hi")


async def test_a_schema_with_references_is_read(codec: Codec, registry_url: str, topic_prefix: str) -> None:
    """A publisher whose ContentPart and Message are subjects of their own."""
    own = {
        name: copy.deepcopy(definitions.bundled()[f"sluice.{name}"]) for name in ("ContentPart", "Message")
    }
    part, message = f"{topic_prefix}part", f"{topic_prefix}message"
    request: dict[str, Any] = {"type": "record", "name": "RequestEvent", "namespace": "sluice", "fields": [
        {"name": "tenant", "type": "string"},
        {"name": "messages", "type": {"type": "array", "items": "sluice.Message"}}]}  # fmt: skip
    part_reference = {"name": "sluice.ContentPart", "subject": part, "version": 1}
    message_reference = {"name": "sluice.Message", "subject": message, "version": 1}
    async with httpx.AsyncClient() as http:

        async def register(subject: str, schema: Any, references: list[Any]) -> int:
            body = {
                "schema": httpx.Request("POST", "http://x", json=schema).content.decode(),
                "references": references,
            }
            answer = await http.post(f"{registry_url}/subjects/{subject}/versions", json=body)
            assert answer.status_code == 200, answer.text
            return int(answer.json()["id"])

        await register(part, own["ContentPart"], [])
        await register(message, own["Message"], [part_reference])
        schema_id = await register(f"{topic_prefix}request", request, [message_reference])
    full = RequestEvent(tenant="acme")
    body = b"\x08acme\x00"
    data = b"\x00" + schema_id.to_bytes(4, "big") + body
    assert await codec.decode_async(data, RequestEvent) == full


async def test_an_id_that_the_registry_lacks_is_invalid_and_remembered(registry: Registry) -> None:
    now = 0.0
    store = SchemaStore(registry, clock=lambda: now)
    data = b"\x00" + (987_654_321).to_bytes(4, "big") + b"body"
    for _ in range(2):
        with pytest.raises(Invalid, match="no schema with id 987654321") as caught:
            await Codec(store).decode_async(data, RequestEvent)
        assert caught.value.reason == "unknown_schema"
        store.registry = Registry("http://127.0.0.1:9/unused", httpx.AsyncClient())
    now = 31.0
    with pytest.raises(RegistryUnreachable):
        await store.fetch(987_654_321)


async def test_an_unreachable_registry_is_waited_for(
    codec: Codec, registry: Registry, registry_url: str
) -> None:
    """The second try finds the registry back; nothing becomes a dead letter meanwhile."""
    async with httpx.AsyncClient() as http:
        store = SchemaStore(Registry("http://127.0.0.1:9/apis/ccompat/v7", http))
        waits: list[float] = []
        failures: list[None] = []

        async def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                store.registry = registry

        reader = Codec(store, on_wait=lambda: failures.append(None), sleep=sleep)
        read = await reader.decode_async(codec.encode(REQUEST, "llm.requests"), RequestEvent)
    assert read == REQUEST
    assert waits == [0.2, 0.4, 0.8]
    assert len(failures) == 3


async def test_without_a_registry_a_confluent_event_says_what_to_set() -> None:
    with pytest.raises(Invalid, match="SLUICE_REGISTRY_URL"):
        await Codec(SchemaStore()).decode_async(b"\x00\x00\x00\x00\x01body", ClassifiedRequest)


async def test_errors_do_not_show_the_registrys_password() -> None:
    async with httpx.AsyncClient() as http:
        registry = Registry("http://me:hidden@127.0.0.1:9/apis/ccompat/v7", http)
        with pytest.raises(RegistryUnreachable) as caught:
            await registry.schema(1)
    assert "hidden" not in str(caught.value)
