"""The small real model over every wire that its server speaks, through Kafka: one pipeline, three ways to ask."""

import asyncio
import uuid
from typing import Any

import pytest

from schemas.config import Config
from schemas.records import Parameters, RequestEvent, ResultEvent
from streams import config_watch, topics
from streams.client import Client
from tests.pipeline.pipeline import Pipeline

pytestmark = pytest.mark.asyncio(loop_scope="session")

TENANT, REPLIES = "wires", "wire-replies"
MOST_TOKENS = 24
WIRES: dict[str, dict[str, Any]] = {
    "wire-chat": {"kind": "openai", "preset": "llama-cpp"},
    "wire-responses": {"kind": "openai-responses"},
    "wire-messages": {"kind": "anthropic"},
}


async def wired(pipeline: Pipeline, model_url: str) -> None:
    """Add a provider and a model for each wire to the configuration, while all runs."""
    values = pipeline.config.model_dump()
    for name, provider in WIRES.items():
        url = model_url if provider["kind"] != "anthropic" else model_url.removesuffix("/v1")
        # The server now and then breaks off a stream on a connection that it was asked on before.
        values["providers"][name] = {**provider, "base_url": url, "headers": {"connection": "close"}}
        values["models"][name] = {
            "provider": name, "vendor_model": "small", "lanes": ["standard"], "limits": {"concurrency": 2},
            "price": {"input": "0.01", "output": "0.02"},
        }  # fmt: skip
    values["tenants"][TENANT] = {"reply_topics": [REPLIES]}
    config = Config.model_validate(values)
    await topics.apply(pipeline.endpoints.brokers, topics.specs(config))
    await config_watch.publish(pipeline.endpoints.brokers, config)
    pipeline.config = config


async def asked(pipeline: Pipeline, client: Client, model: str, prompt: str) -> tuple[ResultEvent, list[str]]:
    """The result over one wire, and the pieces of text that came before it."""
    for _ in range(100):  # until every classify worker has read the new configuration
        request = RequestEvent(
            id=f"{model}-{uuid.uuid4().hex[:8]}", tenant=TENANT, prompt=prompt, model=model, reply_topic=REPLIES,
            stream_deltas=True, parameters=Parameters(max_tokens=MOST_TOKENS, temperature=0.0),
        )  # fmt: skip
        pipeline.published[TENANT, request.id] = None
        [handle] = await client.submit_many([request])
        pieces = [delta.text async for delta in handle.deltas() if delta.kind == "text"]
        result = await handle.result(60)
        if result.status != "rejected":
            return result, pieces
        assert {p.code for p in result.problems} <= {"unknown_model"}
    raise AssertionError(f"{model} never became known")


async def test_every_wire_streams_the_same_model(pipeline: Pipeline, model_server_url: str) -> None:
    await wired(pipeline, model_server_url)
    endpoints = pipeline.endpoints
    async with Client(endpoints.brokers, endpoints.registry_url) as client:
        told = await asyncio.gather(*(asked(pipeline, client, name, "Name a colour.") for name in WIRES))
        too_long = "The weather in Paris is fine. " * 600
        refused = await asyncio.gather(*(asked(pipeline, client, name, too_long) for name in WIRES))
    for name, (result, pieces) in zip(WIRES, told, strict=True):
        assert (result.status, result.provider, result.model) == ("succeeded", name, name), result
        assert result.text and result.attempts == 1, name
        # Pieces are hints: the last ones may come behind the result, and aren't waited for then.
        assert len(pieces) > 1 and result.text.startswith("".join(pieces)), name
        assert result.finish_reason in ("stop", "length") and result.finish_reason_raw
        usage = result.usage
        assert usage is not None and not usage.estimated, name
        assert (usage.input_uncached or 0) + (usage.cache_read or 0) > 10, name
        assert 0 < (usage.output or 0) <= MOST_TOKENS and result.cost is not None and result.cost > 0, name
        timings = result.timings
        assert timings is not None and timings.first_token_at is not None, name
        assert timings.first_token_at < (timings.completed_at or 0), "it came in pieces"
    assert len({result.text for result, _ in told}) == 1, (
        "the same model gives the same answer over every wire"
    )
    for name, (result, pieces) in zip(WIRES, refused, strict=True):
        assert (result.status, result.error_class, pieces) == ("failed", "context_exceeded", []), name
        assert "2048" in (result.error_message or ""), name
    await pipeline.kept()
