"""How the servers that speak OpenAI's Chat Completions differ from each other: one table.

A provider of `kind: openai` has the dialect of its `preset`; without one it is OpenAI itself where it is at OpenAI's
address, else a server of which nothing more is known. Everything that the adapter does for one server only is here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlsplit

from processors.providers.base import Feature
from processors.providers.failures import (
    AUTH,
    CONTENT_FILTER,
    NO_SUCH_MODEL,
    OVERLOADED,
    PROVIDER_ERROR,
    RATE_LIMITED,
    SPEND_LIMIT,
    Errors,
)
from processors.providers.openai.errors import ERRORS, IN_STREAM
from schemas.config import Provider

Limit = Literal["max_tokens", "max_completion_tokens"]
Effort = Literal["reasoning_effort", "reasoning", "chat_template_kwargs"]
_NO_SUCH = "the server has no such parameter"
_IGNORES = "the server ignores it"


@dataclass(frozen=True, slots=True)
class Dialect:
    """One server's ways.

    - `limit`: the field that bounds the output; `reasoning_limit`: that of models which reason.
    - `own_sampling`: its models that reason refuse to be told how to sample.
    - `unsupported`: canonical parameters that it can't express, each with the reason.
    - `effort`: the field that carries the reasoning effort; `budget`: the one for the tokens of reasoning.
    - `thinking`: the field of an assistant message in which its reasoning goes back; `thinking_with_tools`: only
      beside tool calls; `reasoning_details`: in OpenRouter's own form instead.
    - `reasoning_apart`: reasoning is counted beside the output.
    - `usage_option`: usage is asked for by `stream_options`.
    - `names`, `developer`: it knows names of speakers, messages of developers.
    - `cache`: what a cache hint becomes.
    - `packed`: embeddings may come as base64.
    """

    name: str
    base_url: str | None = None
    limit: Limit = "max_tokens"
    reasoning_limit: Limit | None = None
    own_sampling: bool = False
    unsupported: Mapping[str, str] = field(default_factory=dict)
    json_schema: bool = True
    media: frozenset[str] = frozenset({"image"})
    effort: Effort = "reasoning_effort"
    budget: str | None = None
    thinking: str | None = None
    thinking_with_tools: bool = False
    reasoning_details: bool = False
    reasoning_apart: bool = False
    usage_option: bool = True
    names: bool = True
    developer: bool = False
    cache: Literal["prompt_cache_key", "cache_control"] | None = None
    embeddings: bool = True
    packed: bool = False
    rerank: bool = False
    errors: Errors = field(default_factory=lambda: ERRORS)
    note: str = ""


def _without(*names: str, why: str = _NO_SUCH, **others: str) -> dict[str, str]:
    return {**dict.fromkeys(names, why), **others}


OPENAI: Final = Dialect(
    "openai",
    limit="max_completion_tokens",
    own_sampling=True,
    unsupported=_without("top_k", "reasoning_budget"),
    media=frozenset({"image", "document", "audio"}),
    developer=True,
    cache="prompt_cache_key",
    packed=True,
)
# A server of which nothing is known: what the standard has goes through, what servers name differently doesn't.
COMPATIBLE: Final = Dialect(
    "compatible",
    reasoning_limit="max_completion_tokens",
    unsupported=_without(
        "top_k",
        "reasoning_budget",
        why="servers name it differently: set the provider's preset, or use extra",
    ),
    media=frozenset({"image", "document", "audio"}),
    developer=True,
    rerank=True,
)

DIALECTS: Final[dict[str, Dialect]] = {
    dialect.name: dialect
    for dialect in (
        Dialect(
            "vllm",
            unsupported=_without("service_tier", why=_IGNORES),
            media=frozenset({"image", "audio"}),
            budget="thinking_token_budget",
            thinking="reasoning",
            packed=True,
            rerank=True,
            note="A stop sequence that was met is told (`stop_reason`). The reasoning budget needs a server started"
            " with a reasoning configuration.",
        ),
        Dialect(
            "llama-cpp",
            unsupported=_without("service_tier", why=_IGNORES),
            media=frozenset({"image", "audio"}),
            effort="chat_template_kwargs",
            budget="thinking_budget_tokens",
            thinking="reasoning_content",
            packed=True,
            rerank=True,
            errors={**ERRORS, (501, None): NO_SUCH_MODEL},
            note="Embeddings and rerank need a server started for them.",
        ),
        Dialect(
            "ollama",
            "http://localhost:11434/v1",
            unsupported=_without(
                "service_tier", "parallel_tool_calls", why=_IGNORES, top_k="it belongs into the Modelfile"
            )
            | _without("reasoning_budget"),
            thinking="reasoning",
        ),
        Dialect(
            "groq",
            "https://api.groq.com/openai/v1",
            limit="max_completion_tokens",
            unsupported=_without("top_k", "reasoning_budget")
            | _without("frequency_penalty", "presence_penalty", why="no model of Groq takes it yet"),
            thinking="reasoning",
            names=False,
            embeddings=False,
            errors={
                **ERRORS,
                (498, None): OVERLOADED,
                (400, "tool_use_failed"): PROVIDER_ERROR,
                (400, "json_validate_failed"): PROVIDER_ERROR,
            },
            note="Usage also comes in `x_groq`. A tool call or JSON that the model got wrong is a failure that may"
            " be tried again.",
        ),
        Dialect(
            "deepseek",
            "https://api.deepseek.com",
            unsupported=_without("top_k", "seed", "reasoning_budget", "service_tier", "parallel_tool_calls"),
            json_schema=False,
            media=frozenset(),
            thinking="reasoning_content",
            thinking_with_tools=True,
            embeddings=False,
            note="Reasoning goes back beside tool calls only, where the API demands it. Cached input is told as"
            " `prompt_cache_hit_tokens`.",
        ),
        Dialect(
            "together",
            "https://api.together.xyz/v1",
            unsupported=_without("reasoning_budget", "service_tier", "parallel_tool_calls"),
            thinking="reasoning",
            rerank=True,
        ),
        Dialect(
            "xai",
            "https://api.x.ai/v1",
            limit="max_completion_tokens",
            unsupported=_without("top_k", "reasoning_budget"),
            reasoning_apart=True,
            embeddings=False,
            note="Reasoning tokens are counted beside the output and added to it.",
        ),
        Dialect(
            "openrouter",
            "https://openrouter.ai/api/v1",
            media=frozenset({"image", "document", "audio"}),
            effort="reasoning",
            budget="reasoning",
            reasoning_details=True,
            cache="cache_control",
            errors={
                **ERRORS,
                (None, "402"): SPEND_LIMIT,
                (None, "401"): AUTH,
                (None, "429"): RATE_LIMITED,
                (None, "503"): OVERLOADED,
                (None, "content_filter"): CONTENT_FILTER,
            },
            note="Errors inside a 200 carry an HTTP status as their code. Reasoning goes back as `reasoning_details`.",
        ),
    )
}


def dialect_of(provider: Provider | None) -> Dialect:
    """The dialect of a provider; `None` stands for a server of which nothing is known."""
    if provider is None or provider.kind == "dummy":
        return COMPATIBLE
    if provider.preset is not None:
        return DIALECTS[provider.preset]
    try:
        host = urlsplit(provider.base_url).hostname if provider.base_url else "api.openai.com"
    except ValueError:  # no URL: whoever connects to it says so
        host = None
    own = host is not None and (host == "api.openai.com" or host.endswith(".api.openai.com"))
    return OPENAI if own else COMPATIBLE


def in_stream(dialect: Dialect) -> Errors:
    """The dialect's errors as they are meant inside a stream."""
    return {**IN_STREAM, **dialect.errors}


def features_of(dialect: Dialect) -> dict[str, Feature]:
    """What a dialect supports, for its page."""

    def parameter(name: str, note: str = "") -> Feature:
        why = dialect.unsupported.get(name)
        return Feature("yes", note) if why is None else Feature("drop", why)

    thinking = "as reasoning_details" if dialect.reasoning_details else dialect.thinking or ""
    sampling = "not where a model that reasons refuses it" if dialect.own_sampling else ""
    return {
        "text": Feature("yes"),
        "system": Feature("yes"),
        **_media_features(dialect),
        "tools": Feature("yes"),
        "tool_choice": Feature("yes", "auto, none, required, a name"),
        "parallel_tools": parameter("parallel_tool_calls"),
        "tool_errors": Feature("drop", "say it in the text"),
        "json": Feature("yes"),
        "json_schema": Feature("yes") if dialect.json_schema else Feature("drop", "sent as JSON mode"),
        "reasoning": Feature("yes", f"`{dialect.effort}`"),
        "reasoning_budget": parameter("reasoning_budget", f"`{dialect.budget}`"),
        "signatures": _by(dialect.reasoning_details, thinking),
        "thinking_back": _by(bool(thinking), thinking),
        "vendor_parts": _by(dialect.reasoning_details),
        "citations": Feature("no", "the text stays, its annotations are left out"),
        "temperature": parameter("temperature", sampling),
        "top_p": parameter("top_p", sampling),
        "seed": parameter("seed"),
        "stop": parameter("stop"),
        "top_k": parameter("top_k"),
        "penalties": parameter("frequency_penalty"),
        "cache_hints": Feature("yes", f"`{dialect.cache}`") if dialect.cache else Feature("drop", "caches by itself"),
        "service_tier": parameter("service_tier"),
        "names": Feature("yes") if dialect.names else Feature("drop", "messages.name can't be told"),
        "streaming": Feature("yes"),
        "usage": Feature("yes", dialect.note),
        "embeddings": _by(dialect.embeddings),
        "rerank": _by(dialect.rerank),
    }  # fmt: skip


def _by(supported: bool, note: str = "") -> Feature:
    return Feature("yes", note) if supported else Feature("no")


def _media_features(dialect: Dialect) -> dict[str, Feature]:
    image = "image" in dialect.media
    return {
        "image_bytes": _by(image, "as a data URL"),
        "image_url": _by(image),
        "document": _by("document" in dialect.media, "bytes only"),
        "audio": _by("audio" in dialect.media, "bytes only"),
        "tool_result_media": _by(image, "in a user message"),
    }
