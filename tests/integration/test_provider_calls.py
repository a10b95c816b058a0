"""Key pools, dropped parameters, content by reference and deltas on the whole pipeline, and that no secret gets out."""

import asyncio
import contextlib
import hashlib
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from aiohttp import web
from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas import names
from schemas.config import Config
from schemas.records import ContentPart, DeltaEvent, Parameters, RequestEvent, ResultEvent
from sluice import Client
from streams import config_watch, topics
from tests.pipeline.pipeline import REPLIES, RETRYING, Pipeline

pytestmark = pytest.mark.asyncio(loop_scope="session")

TENANT = RETRYING[3]
REFUSED, GOOD = f"planted-refused-{uuid.uuid4().hex}", f"planted-good/{uuid.uuid4().hex}+x=="
PICTURE = uuid.uuid4().bytes * 1000


def sse(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def piece(text: str, finish: str | None = None) -> bytes:
    return sse(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": finish}])


class Vendor:
    """A server that knows keys, echoes them in every answer that goes wrong, and serves files beside."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.bodies: dict[str, dict[str, Any]] = {}
        self.port = 0

    async def call(self, request: web.Request) -> web.StreamResponse:
        key = request.headers["authorization"].removeprefix("Bearer ")
        body = await request.json()
        content = body["messages"][-1]["content"]
        prompt = content if isinstance(content, str) else content[0]["text"]
        self.calls[key] += 1
        self.bodies[prompt] = body
        echo = {"error": {"message": f"Incorrect API key provided: {key}", "code": "x", "key": key}}
        if key == REFUSED:
            return web.json_response(echo, status=401)
        word = prompt.partition(" ")[0]
        if word.isdigit():
            return web.json_response(echo, status=int(word), headers={"x-echo": key})
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        if word == "garbled":
            await answer.write(b"data: {" + key.encode() + b"\n\n")
        elif word == "event":
            await answer.write(sse(**echo))
        else:
            for n in range(20 if word == "slowly" else 1):
                await answer.write(piece(f"word-{n} "))
                await asyncio.sleep(0.1 if word == "slowly" else 0)
            await answer.write(piece("", "stop") + b"data: [DONE]\n\n")
        return answer

    async def file(self, _: web.Request) -> web.Response:
        return web.Response(body=PICTURE, content_type="image/png")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def vendor() -> AsyncIterator[Vendor]:
    vendor = Vendor()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", vendor.call)
    app.router.add_get("/picture", vendor.file)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    vendor.port = runner.addresses[0][1]
    yield vendor
    await runner.cleanup()


@pytest_asyncio.fixture(loop_scope="session")
async def guarded(pipeline: Pipeline, vendor: Vendor, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """The pipeline with models of the vendor, which all workers know."""
    if "guarded" in pipeline.config.models:
        return pipeline
    keys = tmp_path_factory.mktemp("keys")
    for name, secret in (("refused", REFUSED), ("good", GOOD)):
        (keys / name).write_text(secret)
    values = pipeline.config.model_dump()
    values["providers"]["vendor"] = {
        "kind": "openai", "base_url": f"http://127.0.0.1:{vendor.port}/v1",
        "api_keys": [f"file:{keys / 'refused'}", {"secret": f"file:{keys / 'good'}", "name": "good-one"}],
    }  # fmt: skip
    model = {"provider": "vendor", "vendor_model": "v", "lanes": ["standard"]}
    values["models"] |= {"guarded": {**model, "unsupported": "drop"}, "strict": model}
    values["content"] = {"private_hosts": [f"127.0.0.1:{vendor.port}"]}
    config = Config.model_validate(values)
    await topics.apply(pipeline.endpoints.brokers, topics.specs(config))
    await config_watch.publish(pipeline.endpoints.brokers, config)
    pipeline.config = config
    known = 0
    while known < 5:  # in a row: two workers of classify each take their part
        result = await ask(pipeline, "hello", uuid.uuid4().hex)
        known = known + 1 if result.status == "succeeded" else 0
    return pipeline


async def ask(pipeline: Pipeline, prompt: str, request_id: str, **fields: Any) -> ResultEvent:
    event = RequestEvent(
        **{"id": request_id, "tenant": TENANT, "prompt": prompt, "model": "guarded", **fields}
    )
    await pipeline.publish(event)
    return await pipeline.result(TENANT, request_id)


@pytest.fixture
def prefix() -> str:
    return f"calls-{uuid.uuid4().hex[:8]}"


async def test_a_refused_key_leaves_the_calls_to_the_other(
    guarded: Pipeline, vendor: Vendor, prefix: str
) -> None:
    before = Counter(vendor.calls)
    results = await asyncio.gather(*(ask(guarded, "hello", f"{prefix}-{n}") for n in range(30)))
    assert {r.status for r in results} == {"succeeded"} and {r.deployment for r in results} == {"vendor/v"}
    assert vendor.calls[GOOD] - before[GOOD] == 30
    assert vendor.calls[REFUSED] - before[REFUSED] <= 6, "only probes: one each 5 s and worker, and rarer"
    await guarded.kept()
    used = {
        a.key_name for a in guarded.evidence.attempts if a.request_id.startswith(prefix) and a.phase == "done"
    }
    assert used == {"good-one"}


async def test_dropped_and_refused_parameters_end_in_the_audit(guarded: Pipeline, prefix: str) -> None:
    asked = Parameters(top_k=5, seed=7)
    dropped = await ask(guarded, "hello", f"{prefix}-1", parameters=asked)
    refused = await ask(guarded, "hello", f"{prefix}-2", parameters=asked, model="strict")
    assert (dropped.status, dropped.dropped) == ("succeeded", ["parameters.top_k"])
    assert (refused.status, refused.error_class) == ("failed", "unsupported_parameter")
    last = [guarded.evidence.audited((TENANT, f"{prefix}-{n}"))[-1] for n in (1, 2)]
    assert json.loads(last[0].details)["dropped"] == ["parameters.top_k"]
    assert last[1].reason == "unsupported_parameter"
    assert json.loads(last[1].details)["message"].startswith("parameters.top_k: ")


async def test_content_travels_by_reference_and_is_compared(
    guarded: Pipeline, vendor: Vendor, prefix: str
) -> None:
    def parts(sha256: str) -> list[ContentPart]:
        uri = f"http://127.0.0.1:{vendor.port}/picture"
        return [ContentPart(type="image", uri=uri, sha256=sha256)]

    good = await ask(
        guarded, f"{prefix}-1", f"{prefix}-1", content=parts(hashlib.sha256(PICTURE).hexdigest())
    )
    changed = await ask(guarded, f"{prefix}-2", f"{prefix}-2", content=parts("0" * 64))
    elsewhere = [ContentPart(type="image", uri="https://files.example/x.png")]
    strange = await ask(guarded, f"{prefix}-3", f"{prefix}-3", content=elsewhere)
    assert good.status == "succeeded"
    image = vendor.bodies[f"{prefix}-1"]["messages"][0]["content"][1]["image_url"]["url"]
    assert image.startswith("data:image/png;base64,") and len(image) > len(PICTURE)
    for refused, told in ((changed, "SHA-256"), (strange, "content.allowed_hosts")):
        assert (refused.status, refused.error_class) == ("failed", "content_refused")
        assert told in (refused.error_message or "") and refused.attempts == 1
    assert f"{prefix}-2" not in vendor.bodies and f"{prefix}-3" not in vendor.bodies
    await guarded.kept()


async def test_deltas_come_before_the_result_in_order(guarded: Pipeline, prefix: str) -> None:
    endpoints = guarded.endpoints
    async with Client(endpoints.brokers, endpoints.registry_url) as client:
        request = RequestEvent(
            id=prefix,
            tenant=TENANT,
            prompt="slowly",
            model="guarded",
            reply_topic=REPLIES,
            stream_deltas=True,
        )
        [handle] = await client.submit_many([request])
        guarded.published[TENANT, prefix] = None
        text, count, early = "", 0, 0
        async for delta in handle.deltas():
            text = delta.text if delta.sequence == 0 else text + delta.text
            count += 1
            early += not handle.done()
        result = await handle.result(timeout=60)
    assert result.status == "succeeded" and text == result.text and text.startswith("word-0 word-1 ")
    assert count > 3 and early > 3, "they came while the answer was made"
    await guarded.kept()
    lies = await replies(guarded, prefix)
    kinds = [kind for kind, _ in lies]
    assert kinds[-2:] == ["end", "terminal"] and set(kinds[:-2]) == {"text"}, (
        "on one partition, the result last"
    )
    assert [n for _, n in lies[:-1]] == list(range(len(lies) - 1))


@contextlib.asynccontextmanager
async def records_of(pipeline: Pipeline, *only: str) -> AsyncIterator[list[Any]]:
    """Every record of these topics (all, where none is named), in the order of their partitions."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=pipeline.endpoints.brokers, isolation_level="read_committed"
    )
    await consumer.start()
    try:
        cluster = await consumer._client.fetch_all_metadata()
        wanted = [t for t in cluster.topics() if t in only or not (only or t.startswith("__"))]
        parts = [TopicPartition(t, p) for t in wanted for p in cluster.partitions_for_topic(t) or ()]
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        ends, found = await consumer.end_offsets(parts), []
        while [tp for tp in parts if await consumer.position(tp) < ends[tp]]:
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                found += batch
        yield found
    finally:
        await consumer.stop()


async def replies(pipeline: Pipeline, request_id: str) -> list[tuple[str, int | None]]:
    """(kind, sequence) of what lies on the reply topic of a request, in the order of its one partition."""
    async with records_of(pipeline, REPLIES) as records:
        ours = [r for r in records if dict(r.headers)[names.HEADER_REQUEST_ID].decode() == request_id]
    assert len({record.partition for record in ours}) == 1
    events = [await pipeline.codec.decode_async(r.value, (DeltaEvent, ResultEvent)) for r in ours]
    return [(e.kind, e.sequence if isinstance(e, DeltaEvent) else None) for e in events]


async def test_a_secret_gets_nowhere(guarded: Pipeline, vendor: Vendor, prefix: str) -> None:
    """Whatever the vendor echoes: no topic, log line, metric, dead letter or row holds a key."""
    fields: dict[str, Any] = {"candidate_models": ["echo"]}
    words = ("400", "500", "garbled", "event")
    asked = (ask(guarded, f"{word} {prefix}", f"{prefix}-{word}", **fields) for word in words)
    results = dict(zip(words, await asyncio.gather(*asked), strict=True))
    assert results["400"].error_class == "invalid_request"
    assert "Incorrect API key provided: [redacted]" in (results["400"].error_message or "")
    failures = [o.error for o in guarded.evidence.outcomes if o.request_id.startswith(prefix) and o.error]
    assert sum("[redacted]" in error.message for error in failures) >= 3 and vendor.calls[REFUSED] > 0
    await guarded.kept()
    outputs = await everything(guarded)
    for place, data in outputs.items():
        for secret in (REFUSED, GOOD, GOOD.replace("/", "\\/")):
            assert secret.encode() not in data, f"a secret is in {place}"
    for place in ("topics", "rows"):
        assert b"[redacted]" in outputs[place], "the search reads what it should"


async def everything(pipeline: Pipeline) -> dict[str, bytes]:
    """All that the pipeline has written: records with keys and headers, log files, metrics, rows."""
    async with records_of(pipeline) as records:
        held = b"".join(
            (r.key or b"") + (r.value or b"") + b"".join(k.encode() + (v or b"") for k, v in r.headers)
            for r in records
        )
    workers = [*pipeline.fleet.workers.values(), *pipeline.fleet.ended]
    logs = b"".join(worker.log.read_bytes() for worker in workers)
    async with httpx.AsyncClient() as http:
        pages = [await http.get(f"http://127.0.0.1:{w.port}/metrics") for w in workers if w.alive]
    rows = await pipeline.store.rows("SELECT toString(tuple(*)) AS row FROM results")
    metrics = b"".join(page.content for page in pages)
    return {"topics": held, "logs": logs, "metrics": metrics, "rows": json.dumps(rows).encode()}
