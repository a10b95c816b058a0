"""Google's Gemini models, on the Gemini API and on Vertex AI, always streamed.

The two differ in their paths, in how a call is authorised, and in that Vertex AI knows no ids of function calls.
"""

from collections.abc import Mapping
from typing import Final

from processors.providers import json_text
from processors.providers.base import Feature, HttpRequest, ProviderFailure
from processors.providers.encoding import JSON_HEADERS
from processors.providers.events import is_whole
from processors.providers.failures import http_failure
from processors.providers.gemini.errors import ERRORS, error_of
from processors.providers.gemini.request import body_of
from processors.providers.gemini.stream import GeminiDecoder
from processors.providers.unsupported import Dropped
from schemas.config import Model
from schemas.records import CallTask

__all__ = ["ERRORS", "FEATURES", "VERTEX_FEATURES", "GeminiAdapter", "GeminiDecoder", "VertexAdapter"]

FEATURES: Final[Mapping[str, Feature]] = {
    "text": Feature("yes"),
    "system": Feature("yes", "systemInstruction"),
    "image_bytes": Feature("yes", "inlineData; media_type is needed"),
    "image_url": Feature("yes", "fileData, where content_urls is pass"),
    "document": Feature("yes", "inlineData or fileData"),
    "audio": Feature("yes", "inlineData or fileData; answers with audio and images are kept as parts"),
    "tools": Feature("yes", "JSON Schema as it is (parametersJsonSchema)"),
    "tool_choice": Feature("yes", "auto, none, required, a name"),
    "parallel_tools": Feature("drop", "parallel_tool_calls: false can't be told"),
    "tool_result_media": Feature("yes", "from Gemini 3"),
    "tool_errors": Feature("yes", "`error` instead of `output`"),
    "json": Feature("yes", "responseMimeType"),
    "json_schema": Feature("yes", "responseJsonSchema; always strict (strict: false by policy)"),
    "reasoning": Feature("yes", "a level from Gemini 3, before it a budget that stands for the effort"),
    "reasoning_budget": Feature("yes"),
    "signatures": Feature(
        "yes", "thoughtSignature on texts, tool calls and media; a stand-in for other models' calls"
    ),
    "vendor_parts": Feature("yes", "code that ran and the like is kept and sent back unchanged"),
    "citations": Feature("no", "the text stays, its grounding is left out"),
    "temperature": Feature("yes"),
    "top_p": Feature("yes"),
    "seed": Feature("yes"),
    "stop": Feature("yes", "at most 5"),
    "top_k": Feature("yes"),
    "penalties": Feature("yes"),
    "cache_hints": Feature("drop", "caches by itself; an explicit cache by extra.cachedContent"),
    "service_tier": Feature("yes", "flex, standard, priority; the one that served is read from the answer"),
    "names": Feature("drop", "messages.name can't be told"),
    "streaming": Feature("yes"),
    "usage": Feature("yes", "reconciled with totalTokenCount; cached, thoughts, tool prompts, modalities"),
    "embeddings": Feature("yes", "embedContent, batchEmbedContents"),
    "rerank": Feature("no"),
}
VERTEX_FEATURES: Final[Mapping[str, Feature]] = {
    **FEATURES,
    "tools": Feature("yes", "JSON Schema as it is (parametersJsonSchema); calls go without ids"),
    "embeddings": Feature("yes", "predict; embedContent for Gemini's embedding models, one input a call"),
}


class GeminiAdapter:
    """The adapter of `kind: gemini`."""

    _ids = True

    def encode(self, task: CallTask, model: Model) -> HttpRequest:
        """The streamed `generateContent` of a task. Raises signals.Invalid where it can't be expressed."""
        dropped = Dropped(model.unsupported)
        body = body_of(task, model, dropped, ids=self._ids)
        path = f"{self.path(model.vendor_model)}:streamGenerateContent?alt=sse"
        return HttpRequest("POST", path, dict(JSON_HEADERS), json_text.write(body), dropped.names)

    def path(self, vendor_model: str) -> str:
        """Where a model is, below the base URL; a name with a slash (a tuned model, an endpoint) is a path itself."""
        return f"/{vendor_model}" if "/" in vendor_model else f"/models/{vendor_model}"

    def decoder(self, content_type: str) -> GeminiDecoder:
        """A decoder for one answer of that content type."""
        return GeminiDecoder(is_whole(content_type))

    def failure(self, status: int, wait_ms: int | None, body: bytes) -> ProviderFailure:
        """What an answer with an error status means. A wait in the body counts where the headers have none."""
        seen = error_of(body)
        failed = http_failure(status, seen.codes, seen.message, wait_ms, ERRORS)
        if failed.error.retry_after_ms is None:
            failed.error.retry_after_ms = seen.wait_ms
        return failed


class VertexAdapter(GeminiAdapter):
    """The adapter of `kind: vertex`; project and location are in the provider's base URL."""

    _ids = False

    def path(self, vendor_model: str) -> str:
        """Google's own models are published by `google`; a name with a slash is a path itself."""
        return f"/{vendor_model}" if "/" in vendor_model else f"/publishers/google/models/{vendor_model}"
