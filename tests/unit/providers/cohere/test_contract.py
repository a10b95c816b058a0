"""The fixtures hold what Cohere's own SDK would read, and we read them as it does."""

import copy
from typing import Any

import orjson
import pydantic
import pytest
from cohere.types.embed_by_type_response import EmbedByTypeResponse
from cohere.v2.types import V2RerankResponse

from processors.providers.cohere.adapter import CohereDecoder
from tests.fuzz_providers import FIXTURES
from tests.unit.providers.cohere.sdk import check_answer, check_as, check_event, read_by_sdk

HERE = FIXTURES / "cohere"
STREAMS = sorted(path.name for path in HERE.glob("*.sse"))
FAILS = (pydantic.ValidationError, AssertionError, AttributeError)


def events(name: str) -> list[dict[str, Any]]:
    lines = (HERE / name).read_bytes().splitlines()
    return [orjson.loads(line[6:]) for line in lines if line.startswith(b"data: ")]


def without(value: dict[str, Any], path: str) -> dict[str, Any]:
    """A copy that lacks the field at `path`."""
    out = copy.deepcopy(value)
    at: Any = out
    *way, last = path.split(".")
    for step in way:
        at = at[int(step) if step.isdigit() else step]
    del at[last]
    return out


@pytest.mark.parametrize("name", STREAMS)
def test_streams(name: str) -> None:
    told = events(name)
    for event in told:
        check_event(event)
    assert (told[0]["type"], told[-1]["type"]) == ("message-start", "message-end")


def test_whole_answers() -> None:
    check_answer(orjson.loads((HERE / "whole.json").read_bytes()))
    check_as(EmbedByTypeResponse, orjson.loads((HERE / "embed.json").read_bytes()))
    check_as(V2RerankResponse, orjson.loads((HERE / "rerank.json").read_bytes()))


@pytest.mark.parametrize(
    ("name", "kind", "path"),
    [
        ("text.sse", "message-start", "id"),
        ("text.sse", "message-start", "type"),
        ("text.sse", "message-start", "delta.message.role"),
        ("text.sse", "content-start", "index"),
        ("text.sse", "content-start", "delta.message.content.type"),
        ("text.sse", "content-delta", "delta.message.content"),
        ("text.sse", "content-end", "index"),
        ("tools.sse", "tool-plan-delta", "delta.message.tool_plan"),
        ("tools.sse", "tool-call-start", "delta.message.tool_calls.id"),
        ("tools.sse", "tool-call-start", "delta.message.tool_calls.function.name"),
        ("tools.sse", "tool-call-delta", "delta.message.tool_calls.function.arguments"),
        ("text.sse", "message-end", "delta.finish_reason"),
        ("text.sse", "message-end", "delta.usage"),
        ("text.sse", "message-end", "delta.usage.tokens"),
    ],
)
def test_an_event_without_a_required_field_is_none(name: str, kind: str, path: str) -> None:
    event = next(event for event in events(name) if event["type"] == kind)
    check_event(event)
    with pytest.raises((*FAILS, KeyError)):
        check_event(without(event, path))


@pytest.mark.parametrize("path", ["id", "finish_reason", "message", "usage", "message.content.1.text"])
def test_an_answer_without_a_required_field_is_none(path: str) -> None:
    with pytest.raises(FAILS):
        check_answer(without(orjson.loads((HERE / "whole.json").read_bytes()), path))


@pytest.mark.parametrize(
    ("kind", "name", "path"),
    [
        (EmbedByTypeResponse, "embed", "id"),
        (EmbedByTypeResponse, "embed", "embeddings"),
        (V2RerankResponse, "rerank", "results"),
        (V2RerankResponse, "rerank", "results.0.index"),
        (V2RerankResponse, "rerank", "results.0.relevance_score"),
    ],
)
def test_vectors_and_rankings_without_a_required_field_are_none(
    kind: type[pydantic.BaseModel], name: str, path: str
) -> None:
    with pytest.raises(FAILS):
        check_as(kind, without(orjson.loads((HERE / f"{name}.json").read_bytes()), path))


def test_a_field_that_cohere_doesn_t_know_is_none() -> None:
    event = events("text.sse")[2]
    event["delta"]["message"]["content"]["reasoning"] = "x"
    with pytest.raises(FAILS):
        check_event(event)


@pytest.mark.parametrize("name", [name for name in STREAMS if name != "error.sse"])
def test_we_read_what_the_sdk_reads(name: str) -> None:
    stream = (HERE / name).read_bytes()
    seen = read_by_sdk(stream)
    decoder = CohereDecoder()
    decoder.feed(stream)
    answer = decoder.finish()
    pieces = [event.delta.message.content for event in seen if event.type == "content-delta"]
    plans = [event.delta.message.tool_plan for event in seen if event.type == "tool-plan-delta"]
    calls = [event.delta.message.tool_calls for event in seen if event.type == "tool-call-start"]
    arguments = [event.delta.message.tool_calls for event in seen if event.type == "tool-call-delta"]
    thoughts = "".join(plans) + "".join(piece.thinking or "" for piece in pieces)
    assert joined(answer.parts, "text") == "".join(piece.text or "" for piece in pieces)
    assert joined(answer.parts, "thinking") == thoughts
    ours = [part for part in answer.parts if part.type == "tool_call"]
    assert [(p.tool_call_id, p.tool_name) for p in ours] == [(c.id, c.function.name) for c in calls]
    assert "".join(p.arguments or "" for p in ours) == "".join(c.function.arguments for c in arguments)
    assert answer.vendor_response_id == seen[0].id
    assert answer.finish_reason_raw == seen[-1].delta.finish_reason
    billed = seen[-1].delta.usage.billed_units
    assert answer.usage is not None
    assert (answer.usage.input_uncached, answer.usage.output) == (billed.input_tokens, billed.output_tokens)


def joined(parts: Any, kind: str) -> str:
    return "".join(part.text or "" for part in parts if part.type == kind)
