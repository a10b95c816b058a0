"""OpenAI's Responses API, always streamed and never stored: reasoning goes back and forth encrypted."""

from collections.abc import Mapping
from typing import Final

from processors.providers.base import Feature, HttpRequest, ProviderFailure
from processors.providers.events import is_whole
from processors.providers.failures import http_failure
from processors.providers.openai.errors import ERRORS, error_of
from processors.providers.openai.responses_request import encode
from processors.providers.openai.responses_stream import ResponsesDecoder
from schemas.config import Model
from schemas.records import CallTask

__all__ = ["ERRORS", "FEATURES", "ResponsesAdapter", "ResponsesDecoder"]

FEATURES: Final[Mapping[str, Feature]] = {
    "text": Feature("yes"),
    "system": Feature("yes"),
    "image_bytes": Feature("yes", "as a data URL"),
    "image_url": Feature("yes"),
    "document": Feature("yes", "bytes, or a URI where the provider has `content_urls: pass`"),
    "audio": Feature("no"),
    "tools": Feature("yes"),
    "tool_choice": Feature("yes", "auto, none, required, a name"),
    "parallel_tools": Feature("yes"),
    "tool_result_media": Feature("yes", "images and documents"),
    "tool_errors": Feature("drop", "say it in the text"),
    "json": Feature("yes"),
    "json_schema": Feature("yes", "`text.format`"),
    "reasoning": Feature("yes", "`reasoning.effort`; summaries with `extra: {reasoning: {summary: auto}}`"),
    "reasoning_budget": Feature("drop"),
    "signatures": Feature("yes", "reasoning items go back with their encrypted content"),
    "vendor_parts": Feature("yes", "items of hosted tools are kept and sent back unchanged"),
    "citations": Feature("no", "the text stays, its annotations are left out"),
    "temperature": Feature("yes", "not where a model that reasons refuses it"),
    "top_p": Feature("yes", "not where a model that reasons refuses it"),
    "seed": Feature("drop"),
    "stop": Feature("drop"),
    "top_k": Feature("drop"),
    "penalties": Feature("drop"),
    "cache_hints": Feature("yes", "`prompt_cache_key`, of the prefix up to the last hint"),
    "service_tier": Feature("yes"),
    "names": Feature("drop", "messages.name can't be told"),
    "streaming": Feature("yes"),
    "usage": Feature("yes", "cached, cache writes and reasoning"),
    "embeddings": Feature("no", "by a provider of kind openai"),
    "rerank": Feature("no"),
}


class ResponsesAdapter:
    """The adapter of `kind: openai-responses`."""

    def encode(self, task: CallTask, model: Model) -> HttpRequest:
        return encode(task, model)

    def decoder(self, content_type: str) -> ResponsesDecoder:
        return ResponsesDecoder(is_whole(content_type))

    def failure(self, status: int, wait_ms: int | None, body: bytes) -> ProviderFailure:
        codes, message = error_of(body)
        return http_failure(status, codes, message, wait_ms, ERRORS)
