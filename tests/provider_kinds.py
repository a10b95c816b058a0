"""Every kind of provider with what its tests have of it, and what of its FEATURES is proven, by what.

Nothing here is told twice: a request is proven where the adapter encodes it and the vendor's own types take it, an
answer where a fixture holds it, the rest where a test against a simulator or a real server names it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import orjson

from processors.providers.adapters import adapter_of
from processors.providers.base import Adapter, Completion, Feature, HttpRequest, ProviderFailure
from processors.providers.failures import Errors
from schemas.config import Model, Provider
from schemas.records import CallTask, ContentPart, Message, Parameters, RequestEvent, ResponseFormat, Tool
from schemas.signals import Invalid
from tests.fuzz_providers import FIXTURES
from tests.unit.providers.anthropic import sdk as anthropic_sdk
from tests.unit.providers.bedrock import shapes
from tests.unit.providers.cohere import sdk as cohere_sdk
from tests.unit.providers.gemini import sdk as gemini_sdk
from tests.unit.providers.mistral import sdk as mistral_sdk
from tests.unit.providers.openai import sdk as openai_sdk

PROOFS: Final = ("request", "fixture", "simulator", "real server")
_SCHEMA: Final = (
    '{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}'
)
_LOOK: Final = Tool(name="look", description="Looks it up.", input_schema=_SCHEMA)
_PNG: Final = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Kind:
    """A provider as it is configured, the model that shows what it can, and the vendor's judge of a request.

    `models`: other models for features that the first one lacks. `tier`: a service tier that it knows.
    """

    name: str
    provider: Mapping[str, Any]
    features: Mapping[str, Feature]
    errors: Errors
    fixtures: tuple[str, ...]
    vendor_model: str
    judge: Callable[[HttpRequest], Any] | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    tier: str = "flex"

    @property
    def adapter(self) -> Adapter:
        return adapter_of(Provider.model_validate(self.provider))


def _kinds() -> dict[str, Kind]:
    from processors.providers.anthropic.adapter import ERRORS as ANTHROPIC_ERRORS
    from processors.providers.anthropic.adapter import FEATURES as ANTHROPIC
    from processors.providers.bedrock.adapter import ERRORS as BEDROCK_ERRORS
    from processors.providers.bedrock.adapter import FEATURES as BEDROCK
    from processors.providers.cohere.adapter import ERRORS as COHERE_ERRORS
    from processors.providers.cohere.adapter import FEATURES as COHERE
    from processors.providers.gemini.adapter import ERRORS as GEMINI_ERRORS
    from processors.providers.gemini.adapter import FEATURES as GEMINI
    from processors.providers.gemini.adapter import VERTEX_FEATURES as VERTEX
    from processors.providers.mistral.adapter import ERRORS as MISTRAL_ERRORS
    from processors.providers.mistral.adapter import FEATURES as MISTRAL
    from processors.providers.openai.adapter import ERRORS as OPENAI_ERRORS
    from processors.providers.openai.adapter import FEATURES as OPENAI
    from processors.providers.openai.azure import ERRORS as AZURE_ERRORS
    from processors.providers.openai.azure import FEATURES as AZURE
    from processors.providers.openai.presets import DIALECTS, features_of
    from processors.providers.openai.responses import ERRORS as RESPONSES_ERRORS
    from processors.providers.openai.responses import FEATURES as RESPONSES

    def of_body(check: Callable[[dict[str, Any]], Any]) -> Callable[[HttpRequest], Any]:
        return lambda sent: check(orjson.loads(sent.body))

    def chat(body: dict[str, Any]) -> None:
        openai_sdk.strictly(openai_sdk.CompletionCreateParamsStreaming, body)

    def responses(body: dict[str, Any]) -> None:
        openai_sdk.strictly(openai_sdk.ResponseCreateParamsStreaming, body)

    own = {"api_key": "env:KEY"}
    reasons = {"reasoning": "gpt-5.1"}
    kinds = [
        Kind("openai", {"kind": "openai", **own}, OPENAI, OPENAI_ERRORS,
             ("openai/chat*", "openai/embed*"), "gpt-4.1", of_body(chat), reasons),
        Kind("openai-responses", {"kind": "openai-responses", **own}, RESPONSES, RESPONSES_ERRORS,
             ("openai/responses*",), "gpt-4.1", of_body(responses), reasons),
        Kind("azure", {"kind": "azure", "base_url": "https://x.openai.azure.com", **own}, AZURE, AZURE_ERRORS,
             ("azure/chat*",), "gpt-4.1", of_body(chat), reasons),
        Kind("anthropic", {"kind": "anthropic", **own}, ANTHROPIC, ANTHROPIC_ERRORS, ("anthropic/*",),
             "claude-sonnet-4-5", of_body(anthropic_sdk.check_request), {"reasoning": "claude-opus-4-5"},
             "standard_only"),
        Kind("gemini", {"kind": "gemini", **own}, GEMINI, GEMINI_ERRORS, ("gemini/*",), "gemini-2.5-flash",
             gemini_sdk.check_request, {"tool_result_media": "gemini-3-pro-preview"}),
        Kind("vertex", {"kind": "vertex", "project": "p", "location": "l"}, VERTEX, GEMINI_ERRORS,
             ("vertex/*", "gemini/*"), "gemini-2.5-flash", lambda sent: gemini_sdk.check_request(sent, vertex=True),
             {"tool_result_media": "gemini-3-pro-preview"}),
        Kind("bedrock", {"kind": "bedrock", "region": "eu-central-1"}, BEDROCK, BEDROCK_ERRORS, ("bedrock/*",),
             shapes.CLAUDE, shapes.check_request,
             {"reasoning": "anthropic.claude-opus-4-5-20251101-v1:0", "top_k": "amazon.titan-text-express-v1"}),
        Kind("mistral", {"kind": "mistral", **own}, MISTRAL, MISTRAL_ERRORS, ("mistral/*",),
             "mistral-large-latest", of_body(mistral_sdk.check_request), tier="standard_only"),
        Kind("cohere", {"kind": "cohere", **own}, COHERE, COHERE_ERRORS, ("cohere/*",), "command-a-03-2025",
             cohere_sdk.check_request),
    ]  # fmt: skip
    for name, dialect in DIALECTS.items():
        told = {"kind": "openai", "preset": name, "base_url": "http://127.0.0.1:1/v1"}
        patterns = (f"{name}/chat*", f"{name}/*.sse", f"{name}/rerank*", f"{name}/embed*")
        kinds.append(Kind(name, told, features_of(dialect), dialect.errors, patterns, "some-model"))
    return {kind.name: kind for kind in kinds}


KINDS: Final = _kinds()
_RESULT: Final = (
    Message(role="user", content=[ContentPart(type="text", text="Find it.")]),
    Message(
        role="assistant",
        content=[
            ContentPart(type="tool_call", tool_call_id="call00001", tool_name="look", arguments='{"a":1}')
        ],
    ),
    Message(
        role="tool",
        content=[
            ContentPart(type="tool_result", tool_call_id="call00001", tool_name="look", text="found"),
            ContentPart(type="tool_result", tool_call_id="call00001", data=_PNG, media_type="image/png"),
        ],
    ),
)
_FAILED: Final = Message(
    role="tool",
    content=[
        ContentPart(
            type="tool_result", tool_call_id="call00001", tool_name="look", text="found", is_error=True
        )
    ],
)
_OPEN: Final = {"prompt": "hi"}
_TOOLS: Final = {"prompt": "hi", "tools": [_LOOK]}


def _media(kind: str, media_type: str, **where: Any) -> dict[str, Any]:
    return {"prompt": "hi", "content": [ContentPart(type=kind, media_type=media_type, **where)]}


_PARAMETERS: Final = {
    "reasoning": Parameters(reasoning_effort="low"),
    "reasoning_budget": Parameters(reasoning_budget=2048),
    "temperature": Parameters(temperature=0.5),
    "top_p": Parameters(top_p=0.9),
    "top_k": Parameters(top_k=5),
    "seed": Parameters(seed=7),
    "stop": Parameters(stop=["END"]),
    "penalties": Parameters(frequency_penalty=0.5, presence_penalty=0.5),
    "service_tier": Parameters(service_tier="TIER"),
}
# For each feature that a request can ask for: the request, and the same one without the feature.
REQUESTS: Final[dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "text": (_OPEN, {"prompt": "something else"}),
    "system": ({"prompt": "hi", "system": "Be kind."}, _OPEN),
    "image_bytes": (_media("image", "image/png", data=_PNG), _OPEN),
    "image_url": (_media("image", "image/png", uri="https://files.example.com/a.png"), _OPEN),
    "document": (_media("document", "application/pdf", data=b"%PDF-1.7"), _OPEN),
    "audio": (_media("audio", "audio/wav", data=b"RIFF"), _OPEN),
    "tools": (_TOOLS, _OPEN),
    "tool_choice": ({**_TOOLS, "tool_choice": "required"}, _TOOLS),
    "parallel_tools": ({**_TOOLS, "parallel_tool_calls": False}, _TOOLS),
    "tool_result_media": (
        {"messages": [*_RESULT], "tools": [_LOOK]},
        {"messages": [*_RESULT[:2], Message(role="tool", content=_RESULT[2].content[:1])], "tools": [_LOOK]},
    ),
    "tool_errors": (
        {"messages": [*_RESULT[:2], _FAILED], "tools": [_LOOK]},
        {"messages": [*_RESULT[:2], Message(role="tool", content=_RESULT[2].content[:1])], "tools": [_LOOK]},
    ),
    "json": ({**_OPEN, "response_format": ResponseFormat(type="json")}, _OPEN),
    "json_schema": (
        {**_OPEN, "response_format": ResponseFormat(type="json_schema", name="n", json_schema=_SCHEMA, strict=True)},
        _OPEN,
    ),
    "cache_hints": (
        {"content": [ContentPart(type="text", text="hi", cache="ephemeral")]},
        {"content": [ContentPart(type="text", text="hi")]},
    ),
    "names": (
        {"messages": [Message(role="user", name="bob", content=[ContentPart(type="text", text="hi")])]},
        {"messages": [Message(role="user", content=[ContentPart(type="text", text="hi")])]},
    ),
    **{name: ({**_OPEN, "parameters": told}, _OPEN) for name, told in _PARAMETERS.items()},
}  # fmt: skip


def encoded(kind: Kind, feature: str, policy: str, *, plain: bool = False) -> HttpRequest:
    """The request that asks for a feature (`plain`: that doesn't). Raises signals.Invalid."""
    fields = dict(REQUESTS[feature][1 if plain else 0])
    told = fields.get("parameters")
    if told is not None and told.service_tier is not None:
        fields["parameters"] = Parameters(service_tier=kind.tier)
    if "messages" not in fields and "content" not in fields and "prompt" not in fields:
        fields["prompt"] = "hi"
    task = CallTask(
        request_id="r", tenant="t", attempt=1, attempt_id="a", model="m", lane="standard", task_type="chat",
        accepted_at=0, deadline_at=1, issued_at=0, config_version="v", route_partition=0,
        input_tokens_estimate=7, max_output_tokens=4096, request=RequestEvent(id="r", **fields),
    )  # fmt: skip
    vendor_model = kind.models.get(feature, kind.vendor_model)
    model = Model.model_validate({"provider": "p", "vendor_model": vendor_model, "unsupported": policy})
    return kind.adapter.encode(task, model)


def support(kind: Kind, feature: str) -> str:
    """What the adapter does with a request that asks for the feature: yes, drop, no; `ignored` where it goes unseen.

    What a vendor's own types say against a request that was encoded is raised.
    """
    try:
        sent = encoded(kind, feature, "reject")
    except Invalid as refused:
        if refused.reason != "unsupported_parameter":
            return "no"
        dropping = encoded(kind, feature, "drop")
        return "drop" if dropping.dropped else "ignored"
    if sent.body == encoded(kind, feature, "reject", plain=True).body:
        return "ignored"
    if kind.judge is not None:
        kind.judge(sent)
    return "yes"


@cache
def proofs(name: str) -> dict[str, tuple[str, ...]]:
    """By feature of a kind, of those that it supports or drops: what proves it."""
    from tests.provider_proofs import REAL, SIMULATED

    kind, found = KINDS[name], _in_fixtures(KINDS[name])
    told: dict[str, tuple[str, ...]] = {}
    for feature, claim in kind.features.items():
        by_request = feature in REQUESTS and claim.support != "no" and support(kind, feature) == claim.support
        proven = {
            "request": by_request,
            "fixture": feature in found,
            "simulator": feature in SIMULATED.get(name, ()),
            "real server": feature in REAL.get(name, ()),
        }
        told[feature] = tuple(proof for proof in PROOFS if proven[proof])
    return told


def _in_fixtures(kind: Kind) -> set[str]:
    """The features that the fixtures of a kind hold, as its decoder reads them."""
    found: set[str] = set()
    for pattern in kind.fixtures:
        for path in sorted(FIXTURES.glob(pattern)):
            if path.name.startswith(("embed", "rerank", "predict")):
                found.add("rerank" if path.name.startswith("rerank") else "embeddings")
            elif not path.name.startswith("error"):
                whole = path.suffix == ".json"
                data = shapes.stream(path.stem) if path.suffix == ".events" else path.read_bytes()
                found |= _in_answer(kind, data, whole)
    return found


def _in_answer(kind: Kind, data: bytes, whole: bool) -> set[str]:
    decoder = kind.adapter.decoder("application/json" if whole else "text/event-stream")
    try:
        decoder.feed(data)
        answer = decoder.finish()
    except ProviderFailure as failure:
        return {"content_filter"} if failure.error.error_class == "content_filter" else set()
    return _features(answer) | (set() if whole else {"streaming"})


def _features(answer: Completion) -> set[str]:
    kinds = [part.type for part in answer.parts]
    usage = answer.usage
    held = {
        "text": "text" in kinds,
        "tools": "tool_call" in kinds,
        "parallel_tools": kinds.count("tool_call") > 1,
        "reasoning": "thinking" in kinds or bool(usage and usage.reasoning),
        "thinking_back": "thinking" in kinds,
        "signatures": "redacted_thinking" in kinds or any(part.signature for part in answer.parts),
        "vendor_parts": any(kind.startswith("vendor:") for kind in kinds),
        "audio": "audio" in kinds,
        "usage": usage is not None and usage.output is not None,
        "content_filter": answer.finish_reason == "content_filter",
    }
    return {feature for feature, there in held.items() if there}
