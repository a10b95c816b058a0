"""Nothing that a request asks for falls silently: every adapter sends it, reports it, or refuses the request.

The fields are those of the records: one that is added fails here until it is probed, or said not to be a vendor's.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from processors.providers.adapters import adapter_of
from processors.providers.base import Adapter, HttpRequest
from processors.providers.unsupported import UNSUPPORTED
from schemas.config import Model, Provider
from schemas.records import CallTask, ContentPart, Message, Parameters, RequestEvent, ResponseFormat, Tool
from schemas.signals import Invalid
from tests.provider_kinds import KINDS

SCHEMA = (
    '{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}'
)
TOOL = Tool(name="look", description="Looks it up.", input_schema=SCHEMA)
PNG = b"\x89PNG\r\n\x1a\n"

# What a request asks of Sluice, not of a vendor.
SLUICES = {
    "id", "tenant", "application", "user", "purpose", "session_id", "tags", "data_classes", "output_type", "lane",
    "deadline_at", "task_type", "model", "candidate_models", "experiment_key", "reply_topic", "idempotency_key",
    "workflow_name", "workflow_id", "workflow_step", "parent_request_id", "traceparent", "tracestate", "max_cost",
    "target_latency_ms", "quality_floor", "prompt_template", "prompt_template_version", "prompt_variables", "cache",
    "stream_deltas", "metadata",
}  # fmt: skip
NOT_PROBED = {
    "ContentPart.type": "without it there is no part",
    "ContentPart.sha256": "checked when the content is fetched",
    "ContentPart.media_type": "says of what kind the data are, where the wire asks",
    "ContentPart.tool_call_id": "ties a result to its call; wires without ids do it by place",
    "ContentPart.tool_name": "of a result: its call has it",
    "ContentPart.signature": "its vendor's alone (test_swap)",
    "ContentPart.id": "its vendor's alone (test_swap)",
    "Message.role": "without it there is no message; an unknown one is refused",
    "Parameters.max_tokens": "sent as the task's max_output_tokens, always",
    "ResponseFormat.type": "text is what every model gives",
    "ResponseFormat.name": "a label that some wires demand",
    "Tool.name": "without it there is no tool",
}

Fields = dict[str, Any]


def part(**fields: Any) -> ContentPart:
    return ContentPart(**{"type": "text", "text": "hi", **fields})


def said(*parts: ContentPart, **fields: Any) -> Fields:
    return {"messages": [Message(role="user", content=list(parts), **fields)]}


def talk(
    call: Fields | None = None, result: Fields | None = None, more: tuple[ContentPart, ...] = ()
) -> Fields:
    """A question, a tool call, its result of two parts."""
    called: Fields = {
        "type": "tool_call",
        "tool_call_id": "call00001",
        "tool_name": "look",
        "arguments": '{"a":1}',
    }
    gave: Fields = {"type": "tool_result", "tool_call_id": "call00001", "tool_name": "look", "text": "found"}
    return {
        "messages": [
            Message(role="user", content=[part()]),
            Message(role="assistant", content=[*more, ContentPart(**{**called, **(call or {})})]),
            Message(
                role="tool",
                content=[ContentPart(**{**gave, **(result or {})}), ContentPart(**{**gave, "text": "it"})],
            ),
        ],
        "tools": [TOOL],
    }


def told(**fields: Any) -> Fields:
    return {"prompt": "hi", "parameters": Parameters(**fields)}


def shaped(**fields: Any) -> Fields:
    return {"prompt": "hi", "response_format": ResponseFormat(**fields)}


def tooled(**fields: Any) -> Fields:
    return {"prompt": "hi", "tools": [Tool(**{"name": "look", **fields})]}


OPEN: Fields = {"prompt": "hi"}
TOOLS: Fields = {**OPEN, "tools": [TOOL]}
NAMED = {"type": "json_schema", "json_schema": SCHEMA}
THOUGHT = ContentPart(type="thinking", text="hm", signature="c2ln")
EMPTY = ContentPart(type="text", text="")

# Where a model takes no schema at all, that is what is reported.
STRICT = "response_format.strict response_format response_format.json_schema"

# What is asked for: the request, the same without it, and the names under which it is reported.
PROBES: dict[str, tuple[Fields, Fields, str]] = {
    "RequestEvent.prompt": (OPEN, {"prompt": "another"}, ""),
    "RequestEvent.messages": (said(part()), said(part(text="another")), ""),
    "RequestEvent.content": ({"content": [part()]}, {"content": [part(text="another")]}, ""),
    "RequestEvent.system": ({**OPEN, "system": "Be kind."}, OPEN, "system"),
    "RequestEvent.parameters": (told(temperature=0.5), OPEN, "parameters.temperature"),
    "RequestEvent.response_format": (shaped(type="json"), OPEN, "response_format"),
    "RequestEvent.tools": (TOOLS, OPEN, "tools"),
    "RequestEvent.tool_choice": ({**TOOLS, "tool_choice": "required"}, TOOLS, "tool_choice"),
    "RequestEvent.tool_choice none": ({**TOOLS, "tool_choice": "none"}, TOOLS, "tool_choice"),
    "RequestEvent.tool_choice none after calls": ({**talk(), "tool_choice": "none"}, talk(), "tool_choice"),
    "RequestEvent.tool_choice name": ({**TOOLS, "tool_choice": "look"}, TOOLS, "tool_choice"),
    "RequestEvent.tool_choice name beside reasoning": (
        {**TOOLS, **told(reasoning_budget=2048), "tool_choice": "look"},
        {**TOOLS, **told(reasoning_budget=2048)},
        "tool_choice",
    ),
    "RequestEvent.parallel_tool_calls": (
        {**TOOLS, "parallel_tool_calls": False}, TOOLS, "parallel_tool_calls",
    ),
    "ContentPart.text": (said(part()), said(part(text="another")), ""),
    "ContentPart.text of a result": (talk(), talk(result={"text": "nothing"}), ""),
    "ContentPart.arguments": (talk(), talk(call={"arguments": "{}"}), ""),
    "ContentPart.uri": (said(part(), ContentPart(type="image", uri="https://x/a.png")), said(part()), ""),
    "ContentPart.data": (
        said(part(), ContentPart(type="image", data=PNG, media_type="image/png")), said(part()), "",
    ),
    "ContentPart.data of a result": (
        talk(result={"data": PNG, "media_type": "image/png"}), talk(), "",
    ),
    "ContentPart.is_error": (talk(result={"is_error": True}), talk(), "content.is_error"),
    "ContentPart.cache": (said(part(cache="ephemeral"), part()), said(part(), part()), "content.cache"),
    "ContentPart.cache for an hour": (
        said(part(cache="ephemeral_1h"), part()), said(part(cache="ephemeral"), part()), "content.cache",
    ),
    "ContentPart.cache of a life nobody knows": (
        said(part(cache="for ever"), part()), said(part(cache="ephemeral"), part()), "content.cache",
    ),
    "ContentPart.cache of a medium": (
        said(ContentPart(type="image", data=PNG, media_type="image/png", cache="ephemeral"), part()),
        said(ContentPart(type="image", data=PNG, media_type="image/png"), part()), "content.cache",
    ),
    "ContentPart.cache of a call": (talk(call={"cache": "ephemeral"}), talk(), "content.cache"),
    "ContentPart.cache of a result": (talk(result={"cache": "ephemeral"}), talk(), "content.cache"),
    "ContentPart.cache of thinking": (
        talk(more=(msgspec.structs.replace(THOUGHT, cache="ephemeral"),)), talk(more=(THOUGHT,)), "content.cache",
    ),
    "ContentPart.cache of an empty text": (
        said(part(), msgspec.structs.replace(EMPTY, cache="ephemeral"), part()), said(part(), EMPTY, part()),
        "content.cache",
    ),
    "Message.content": (said(part()), said(part(text="another")), ""),
    "Message.name": (said(part(), name="bob"), said(part()), "messages.name"),
    "Parameters.temperature": (told(temperature=0.5), OPEN, "parameters.temperature"),
    "Parameters.temperature that is high": (
        told(temperature=1.5), told(temperature=0.5), "parameters.temperature",
    ),
    "Parameters.top_p": (told(top_p=0.5), OPEN, "parameters.top_p"),
    "Parameters.top_k": (told(top_k=5), OPEN, "parameters.top_k"),
    "Parameters.stop": (told(stop=["END"]), OPEN, "parameters.stop"),
    "Parameters.seed": (told(seed=1), OPEN, "parameters.seed"),
    "Parameters.frequency_penalty": (told(frequency_penalty=0.5), OPEN, "parameters.frequency_penalty"),
    "Parameters.presence_penalty": (told(presence_penalty=0.5), OPEN, "parameters.presence_penalty"),
    "Parameters.reasoning_effort": (told(reasoning_effort="low"), OPEN, "parameters.reasoning_effort"),
    "Parameters.reasoning_effort beside a budget": (
        told(reasoning_effort="low", reasoning_budget=2048), told(reasoning_budget=2048), "parameters.reasoning_effort",
    ),
    "Parameters.reasoning_budget": (told(reasoning_budget=2048), OPEN, "parameters.reasoning_budget"),
    "Parameters.reasoning_budget where none is wanted": (
        told(reasoning_effort="none", reasoning_budget=2048), told(reasoning_effort="none"),
        "parameters.reasoning_budget parameters.reasoning_effort",
    ),
    "Parameters.reasoning_effort none beside a budget": (
        told(reasoning_effort="none", reasoning_budget=2048), told(reasoning_budget=2048),
        "parameters.reasoning_budget parameters.reasoning_effort",
    ),
    "Parameters.service_tier": (told(service_tier="flex"), OPEN, "parameters.service_tier"),
    "Parameters.extra": (told(extra={"some_field": "1"} | {"someField": "1"}), OPEN, "parameters.extra"),
    "ResponseFormat.json_schema": (shaped(**NAMED), shaped(type="json"), "response_format response_format.json_schema"),
    "ResponseFormat.strict": (shaped(**NAMED, strict=False), shaped(**NAMED), STRICT),
    "Tool.description": (tooled(description="Looks it up."), tooled(), "tools"),
    "Tool.input_schema": (tooled(input_schema=SCHEMA), tooled(), "tools"),
}  # fmt: skip
# Models that differ from the first of their kind in what they take.
MORE_MODELS = {
    "openai": ("gpt-5", "o3"),
    "openai-responses": ("gpt-5",),
    "anthropic": ("claude-opus-4-5", "claude-opus-4-7", "claude-fable-5", "claude-opus-4-1", "some-model"),
    "gemini": ("gemini-3-pro-preview",),
    "bedrock": ("amazon.nova-pro-v1:0", "anthropic.claude-opus-4-7-v1:0", "meta.llama3-70b-instruct-v1:0"),
}


def targets() -> Iterator[tuple[str, Adapter, str]]:
    for name, kind in KINDS.items():
        for vendor_model in dict.fromkeys((kind.vendor_model, *MORE_MODELS.get(name, ()))):
            yield name, kind.adapter, vendor_model
    unknown = {"kind": "openai", "base_url": "http://127.0.0.1:1/v1"}
    yield "compatible", adapter_of(Provider.model_validate(unknown)), "some-model"


TARGETS = {f"{name} {vendor_model}": (adapter, vendor_model) for name, adapter, vendor_model in targets()}


def sent(target: str, policy: str, fields: Fields) -> HttpRequest:
    adapter, vendor_model = TARGETS[target]
    task = CallTask(
        request_id="r", tenant="t", attempt=1, attempt_id="a", model="m", lane="standard", task_type="chat",
        accepted_at=0, deadline_at=1, issued_at=0, config_version="v", route_partition=0,
        input_tokens_estimate=7, max_output_tokens=4096, request=RequestEvent(id="r", tenant="t", **fields),
    )  # fmt: skip
    model = {"provider": "p", "vendor_model": vendor_model, "unsupported": policy}
    return adapter.encode(task, Model.model_validate(model))


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("target", TARGETS)
def test_what_is_asked_for_is_sent_or_reported(target: str, probe: str) -> None:
    asked, plain, names = PROBES[probe]
    try:
        dropping = sent(target, "drop", asked)
    except Invalid as refused:
        assert refused.reason == "invalid_request", "it can't be left out: the message says what to do"
        return
    without = sent(target, "drop", plain)
    if not set(names.split()) & set(dropping.dropped):
        assert dropping.body != without.body, "neither sent nor reported"
        return
    with pytest.raises(Invalid) as refused_too:
        sent(target, "reject", asked)
    assert refused_too.value.reason == UNSUPPORTED


def test_every_field_is_probed_or_none_of_a_vendor_s() -> None:
    probed = {probe.partition(" ")[0] for probe in PROBES}
    fields = {
        f"{record.__name__}.{field}"
        for record in (RequestEvent, ContentPart, Message, Parameters, ResponseFormat, Tool)
        for field in record.__struct_fields__
    }
    own = {f"RequestEvent.{field}" for field in SLUICES}
    assert fields == probed | own | set(NOT_PROBED)
    assert not probed & (own | set(NOT_PROBED))
