"""Bad input through the whole pipeline: told to whom it concerns, and nothing else is disturbed."""

import asyncio
import uuid
from typing import Any

import pytest
from aiokafka.structs import RecordMetadata

from schemas import ids, names
from schemas.config import Config, Topics
from schemas.partition import partition_of
from schemas.records import DeadLetter, Parameters, RequestEvent, ResultEvent
from streams import config_watch
from tests.pipeline.pipeline import TENANTS, Pipeline, now_ms, requests

PARTITIONS = Topics().partitions

pytestmark = pytest.mark.asyncio(loop_scope="session")

TENANT = TENANTS[0]
HEADERS = [("source", b"a test"), ("bytes", b"\xff\x00")]


@pytest.fixture
def prefix() -> str:
    return f"bad-{uuid.uuid4().hex[:8]}"


def letter_id(place: RecordMetadata) -> str:
    return ids.dead_letter_id(place.topic, place.partition, place.offset)


async def dead(pipeline: Pipeline, value: bytes | None, key: bytes | None = b"any key") -> tuple[DeadLetter, Any]:
    """Publish a value that must become a dead letter, and give the letter and where the original lies."""
    place = await (await pipeline.send(value, key, headers=HEADERS))
    [letter] = await pipeline.letters([letter_id(place)])
    where = (place.topic, place.partition, place.offset)
    assert (letter.source_topic, letter.source_partition, letter.source_offset) == where
    assert letter.value == value and letter.key == key
    assert [(h.key, h.value) for h in letter.headers] == HEADERS
    assert letter.stage == "classify" and letter.source_timestamp == place.timestamp
    return letter, place


async def still_serves(pipeline: Pipeline, prefix: str) -> None:
    """Good requests of every tenant, so of many partitions, are answered, and the promise holds."""
    good = requests(f"{prefix}-good", 2 * len(TENANTS))
    await pipeline.publish(*good)
    await pipeline.results((r.tenant, r.id) for r in good)
    await pipeline.kept()


async def test_what_has_no_owner_becomes_a_dead_letter(pipeline: Pipeline, prefix: str) -> None:
    good = pipeline.codec.encode(RequestEvent(id=f"{prefix}-x", tenant=TENANT, prompt="hi"), names.REQUESTS)
    nobody = pipeline.codec.encode(RequestEvent(id=f"{prefix}-nobody", prompt="hi"), names.REQUESTS)
    stranger = RequestEvent(id=f"{prefix}-stranger", tenant="stranger", prompt="hi")
    cases: dict[str, tuple[bytes | None, str, str]] = {
        "text": (b"not Avro at all", "undecodable", "Avro"),
        "json": (b'{"tenant": "tenant-0"}', "undecodable", "JSON"),
        "empty": (b"", "undecodable", "Avro"),
        "cut": (good[:-3], "undecodable", "RequestEvent"),
        "longer": (good + b"more", "undecodable", "follow the end"),
        "schema": (b"\x00\x00\x0f\xff\xff" + good[5:], "unknown_schema", "registry has no schema with id 1048575"),
        "null": (None, "null_value", "no value"),
        "no tenant": (nobody, "missing_tenant", "set the field `tenant`"),
        "tenant": (pipeline.codec.encode(stranger, names.REQUESTS), "unknown_tenant", "'stranger'"),
    }
    found = await asyncio.gather(*(dead(pipeline, value) for value, _, _ in cases.values()))
    for (name, (_, reason, hint)), (letter, _) in zip(cases.items(), found, strict=True):
        assert (letter.kind, letter.reason) == (reason, reason), name
        assert hint in letter.message, (name, letter.message)
    assert found[-1][0].claimed_tenant == "stranger" and found[-1][0].request_id == f"{prefix}-stranger"
    await still_serves(pipeline, prefix)
    for claimed in (TENANT, "stranger", ""):  # no result under a tenant that was merely claimed
        assert not [r for r in pipeline.evidence.results if r.tenant == claimed and r.request_id == f"{prefix}-x"]
    assert not [r for r in pipeline.evidence.results if r.tenant in ("stranger", "")]
    rows = await pipeline.store.rows(
        "SELECT id, reason, hex(value) AS value, headers.key AS keys, source_offset FROM dead_letters"
    )
    stored = {row["id"]: row for row in rows}
    for (value, reason, _), (letter, place) in zip(cases.values(), found, strict=True):
        row = stored[letter.id]
        assert row["reason"] == reason and int(row["source_offset"]) == place.offset
        assert row["value"] == (None if value is None else value.hex().upper())
        assert row["keys"] == [key for key, _ in HEADERS]


async def test_a_request_that_cannot_be_served_is_told_what_to_fix(pipeline: Pipeline, prefix: str) -> None:
    def event(name: str, **fields: Any) -> RequestEvent:
        return RequestEvent(id=f"{prefix}-{name}", tenant=TENANT, **{"prompt": "hi", **fields})

    hot, week = Parameters(temperature=7.0), 7 * 24 * 3600 * 1000
    cases = {
        "large": (event("large", prompt="x" * ((1 << 20) + 1)), "prompt_too_large", "1048576"),
        "model": (event("model", model="gpt-99"), "unknown_model", "use one of"),
        "hot": (event("hot", parameters=hot), "out_of_range", "give a number from 0 to 2"),
        "none": (event("none", parameters=Parameters(max_tokens=0)), "out_of_range", "max_tokens"),
        "late": (event("late", deadline_at=now_ms() + week), "impossible_deadline", "give a nearer one"),
        "seconds": (event("seconds", deadline_at=now_ms() // 1000), "impossible_deadline", "in seconds?"),
        "lane": (event("lane", lane="fastest"), "unknown_value", "interactive, standard, batch"),
        "empty": (event("empty", prompt=None), "no_prompt", "give one of them"),
        "reply": (event("reply", reply_topic="elsewhere"), "reply_topic_not_allowed", "leave it out"),
    }
    await pipeline.publish(*(request for request, _, _ in cases.values()))
    for name, (request, code, hint) in cases.items():
        result = await pipeline.result(TENANT, request.id)
        assert result.status == "rejected", (name, result)
        assert [p.code for p in result.problems] == [code], (name, result.problems)
        assert hint in result.problems[0].message, (name, result.problems)
        assert result.attempts == 0 and result.error_class == code and hint in (result.error_message or "")
    await still_serves(pipeline, prefix)


async def test_a_request_past_its_deadline_expires_without_a_call(pipeline: Pipeline, prefix: str) -> None:
    late = RequestEvent(id=f"{prefix}-late", tenant=TENANT, prompt="hi", deadline_at=now_ms() - 1000)
    await pipeline.publish(late)
    result = await pipeline.result(TENANT, late.id)
    assert (result.status, result.error_class, result.attempts) == ("expired", "deadline_exceeded", 0)
    await pipeline.kept()
    assert not [a for a in pipeline.evidence.attempts if a.request_id == late.id]


async def test_a_wrong_or_missing_key_does_no_harm(pipeline: Pipeline, prefix: str) -> None:
    """Requests of one tenant, spread over partitions by any key, are one ledger all the same."""
    keys = [None, b"", b"another-tenant", b"\xff\xfe", TENANT.encode()]
    for number, key in enumerate(keys):
        event = RequestEvent(id=f"{prefix}-{number}", tenant=TENANT, prompt="hi")
        for again in range(2):  # the second one is a duplicate, wherever it lies
            place = (number * 5 + again * 3) % PARTITIONS
            await (await pipeline.send(pipeline.codec.encode(event, names.REQUESTS), key, partition=place))
        pipeline.published[TENANT, event.id] = None
    nameless = RequestEvent(tenant=TENANT, prompt="hi")
    place = await (await pipeline.send(pipeline.codec.encode(nameless, names.REQUESTS)))
    made_id = ids.request_id_of(place.topic, place.partition, place.offset)
    pipeline.published[TENANT, made_id] = None
    found = [await pipeline.result(TENANT, f"{prefix}-{n}") for n in range(len(keys))]
    assert {r.status for r in found} == {"succeeded"}
    assert (await pipeline.result(TENANT, made_id)).status == "succeeded"
    await pipeline.kept()

    def of_us(results: list[ResultEvent]) -> int:
        return sum(r.request_id.startswith(prefix) for r in results)

    assert of_us(pipeline.evidence.notices("duplicate")) == len(keys)
    home = partition_of(TENANT, PARTITIONS)
    lies = {p for p, events in pipeline.evidence.audit.items() if any(e.tenant == TENANT for e in events)}
    assert lies == {home}


async def test_garbage_on_inner_topics_stops_nobody(pipeline: Pipeline, prefix: str) -> None:
    """What no worker writes: each stage puts it aside and goes on with the partition."""
    topics = {names.CONTROL: "classify", names.TENANT_EVENTS: "route", names.calls_topic("fast", "standard"): "call"}
    for topic, stage in topics.items():
        for value in (b"garbage", None):
            if topic == names.CONTROL and value is None:
                continue  # a tombstone is how a pause is removed for good
            place = await pipeline.producer.send_and_wait(topic, value, key=b"garbage", partition=0)
            [letter] = await pipeline.letters([letter_id(place)])
            assert letter.stage == stage and letter.value == value
    await still_serves(pipeline, prefix)


async def given(pipeline: Pipeline, content: bytes, key: bytes) -> None:
    """Publish to llm.config what may be no configuration: the sink makes a dead letter of it where it can't be read."""
    sent = await pipeline.producer.send_and_wait(names.CONFIG, content, key=key)
    pipeline.expected_letters.add(letter_id(sent))


async def test_a_wrong_configuration_never_replaces_a_right_one(pipeline: Pipeline, prefix: str) -> None:
    right = pipeline.config.content_hash()
    unsound = pipeline.config.to_json().replace(b'"fast"', b'"Not A Model Id"')
    for name, content in {"broken": b"{not json", "unsound": unsound, "absent": None, "odd": b"\xff"}.items():
        if content is not None:
            await given(pipeline, content, f"{prefix}-{name}".encode())
        await given(pipeline, b"\xff\xfe" if name == "odd" else f"{prefix}-{name}".encode(), b"active")
        await still_serves(pipeline, f"{prefix}-{name}")
    # A worker that starts now reads all of that, and starts with the last right one.
    await pipeline.fleet.drain(pipeline.fleet.workers["classify", 0])
    await pipeline.fleet.ready([pipeline.fleet.start(("classify", 0))])
    await still_serves(pipeline, f"{prefix}-after")
    versions = {r.config_version for r in pipeline.evidence.results if r.request_id.startswith(prefix)}
    assert versions == {right}
    # And a right one is taken.
    better = Config.model_validate({**pipeline.config.model_dump(), "tenants": {**pipeline.config.tenants, prefix: {}}})
    await config_watch.publish(pipeline.endpoints.brokers, better)
    event = RequestEvent(id=f"{prefix}-new", tenant=prefix, prompt="hi")
    letters: set[str] = set()
    for _ in range(100):  # until every classify worker has read it, the new tenant is unknown to some
        [place] = await pipeline.publish(event, accepted=False)
        letters.add(letter_id(place))
        pipeline.expected_letters.add(letter_id(place))
        await pipeline.evidence.catch_up()
        if (prefix, event.id) in pipeline.evidence.terminal():
            break
        await asyncio.sleep(0.2)
    pipeline.published[prefix, event.id] = None
    result = await pipeline.result(prefix, event.id)
    assert (result.status, result.config_version) == ("succeeded", better.content_hash())
    await config_watch.publish(pipeline.endpoints.brokers, pipeline.config)
    await still_serves(pipeline, f"{prefix}-back")
