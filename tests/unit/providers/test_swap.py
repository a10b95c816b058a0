"""A conversation that one vendor began goes on at any other: what only its vendor may read stays with it."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from processors.providers.anthropic.adapter import AnthropicAdapter, AnthropicDecoder
from processors.providers.base import HttpRequest
from processors.providers.bedrock.adapter import BedrockAdapter
from processors.providers.cohere.adapter import CohereAdapter, CohereDecoder
from processors.providers.gemini.adapter import GeminiAdapter, GeminiDecoder, VertexAdapter
from processors.providers.mistral.adapter import MistralAdapter, MistralDecoder
from processors.providers.openai.adapter import OpenAiAdapter, OpenAiDecoder
from processors.providers.openai.responses import ResponsesAdapter, ResponsesDecoder
from schemas.config import Model
from schemas.records import CallTask, ContentPart, Message, RequestEvent, Tool
from tests.fuzz_providers import FIXTURES
from tests.unit.providers.anthropic import sdk as anthropic_sdk
from tests.unit.providers.cohere import sdk as cohere_sdk
from tests.unit.providers.gemini import sdk as gemini_sdk
from tests.unit.providers.mistral import sdk as mistral_sdk

ANSWERS: list[tuple[str, str, Callable[[], Any]]] = [
    ("anthropic", "anthropic/thinking_and_tools.sse", AnthropicDecoder),
    ("anthropic", "anthropic/web_search.sse", AnthropicDecoder),
    ("gemini", "gemini/thinking.sse", GeminiDecoder),
    ("gemini", "gemini/tools.sse", GeminiDecoder),
    ("gemini", "gemini/tools_ids.sse", GeminiDecoder),
    ("gemini", "gemini/tool_use.sse", GeminiDecoder),
    ("mistral", "mistral/thinking.sse", MistralDecoder),
    ("mistral", "mistral/tools.sse", MistralDecoder),
    ("mistral", "mistral/reference.sse", MistralDecoder),
    ("cohere", "cohere/thinking.sse", CohereDecoder),
    ("cohere", "cohere/tools.sse", CohereDecoder),
    ("openai-responses", "openai/responses_reasoning.sse", ResponsesDecoder),
    ("openai", "openai/chat_tools.sse", OpenAiDecoder),
]
ADAPTERS: dict[str, tuple[Any, str]] = {
    "anthropic": (AnthropicAdapter(), "claude-sonnet-4-5"),
    "bedrock": (BedrockAdapter(), "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    "gemini": (GeminiAdapter(), "gemini-3-pro-preview"),
    "vertex": (VertexAdapter(), "gemini-3-pro-preview"),
    "mistral": (MistralAdapter(), "mistral-large-latest"),
    "cohere": (CohereAdapter(), "command-a-03-2025"),
    "openai": (OpenAiAdapter(), "gpt-5"),
    "openai-responses": (ResponsesAdapter(), "gpt-5"),
}
# Whose signatures hold there too: the same models stand behind both.
SAME = {"vertex": "gemini", "bedrock": "anthropic"}
# The vendor's own types judge the request.
JUDGES: dict[str, Callable[[HttpRequest], Any]] = {
    "anthropic": lambda sent: anthropic_sdk.check_request(orjson.loads(sent.body)),
    "gemini": gemini_sdk.check_request,
    "vertex": lambda sent: gemini_sdk.check_request(sent, vertex=True),
    "mistral": lambda sent: mistral_sdk.check_request(orjson.loads(sent.body)),
    "cohere": cohere_sdk.check_request,
}
GOES_ON = "and then?"


def begun(name: str, decoder: Any) -> list[Message]:
    """A question, the vendor's answer as it was told to the caller, and what the caller says to it."""
    decoder.feed((FIXTURES / name).read_bytes())
    parts: list[ContentPart] = decoder.finish().parts
    results = [
        ContentPart(type="tool_result", tool_call_id=part.tool_call_id, text="fine")
        for part in parts
        if part.type == "tool_call"
    ]
    said = ContentPart(type="text", text=GOES_ON)
    return [
        Message(role="user", content=[ContentPart(type="text", text="first")]),
        Message(role="assistant", content=parts),
        *([Message(role="tool", content=results)] if results else []),
        Message(role="user", content=[said]),
    ]


def sent_by(adapter: Any, vendor_model: str, messages: list[Message]) -> HttpRequest:
    tools = [
        Tool(name=part.tool_name or "", input_schema='{"type":"object"}')
        for message in messages
        for part in message.content
        if part.type == "tool_call"
    ]
    request = RequestEvent(
        id="r", messages=messages, tools=list({tool.name: tool for tool in tools}.values())
    )
    task = CallTask(
        request_id="r", tenant="t", attempt=1, attempt_id="a", model="m", lane="standard", task_type="chat",
        accepted_at=0, deadline_at=1, issued_at=0, config_version="v", route_partition=0,
        input_tokens_estimate=7, max_output_tokens=4096, request=request,
    )  # fmt: skip
    model = Model.model_validate({"provider": "p", "vendor_model": vendor_model, "unsupported": "reject"})
    sent: HttpRequest = adapter.encode(task, model)
    return sent


@pytest.mark.parametrize("target", ADAPTERS)
@pytest.mark.parametrize(("home", "name", "decoder"), ANSWERS, ids=[name for _, name, _ in ANSWERS])
def test_a_conversation_goes_on_elsewhere(
    home: str, name: str, decoder: Callable[[], Any], target: str
) -> None:
    messages = begun(name, decoder())
    sent = sent_by(*ADAPTERS[target], messages)
    if target in JUDGES:
        JUDGES[target](sent)
    body = sent.body.decode()
    assert GOES_ON in body
    for part in messages[1].content:
        if part.type == "text" and part.text:
            assert orjson.dumps(part.text).decode()[1:-1] in body
        if part.type == "tool_call":
            assert part.tool_name and part.tool_name in body
        if SAME.get(target, target) != home:
            assert part.signature is None or part.signature not in body, "a signature is its vendor's alone"
            assert not part.type.startswith("vendor:") or (part.text or "") not in body
