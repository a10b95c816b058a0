"""Mistral's own types as the judge of what we send and of what the fixtures hold."""

from typing import Any

import orjson
from mistralai.client.models import (
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    CompletionChunk,
    EmbeddingRequest,
    EmbeddingResponse,
)
from pydantic import BaseModel

from processors.providers.base import HttpRequest
from processors.providers.mistral.adapter import MistralAdapter
from schemas.config import Model
from schemas.records import CallTask, RequestEvent


def check_chunk(chunk: dict[str, Any]) -> None:
    """Raises pydantic.ValidationError where a field is wrong or missing, AssertionError where one is unknown."""
    _check(CompletionChunk, chunk)


def check_answer(answer: dict[str, Any]) -> None:
    _check(ChatCompletionResponse, answer)


def check_embeddings(answer: dict[str, Any]) -> None:
    _check(EmbeddingResponse, answer)


def check_request(body: dict[str, Any]) -> None:
    _check(ChatCompletionStreamRequest, body)


def check_embedding_request(body: dict[str, Any]) -> None:
    _check(EmbeddingRequest, body)


def _check(kind: type[BaseModel], value: dict[str, Any]) -> None:
    seen = kind.model_validate(value)
    assert seen.model_dump(mode="json", by_alias=True, exclude_unset=True) == value


def model_of(policy: str = "reject", vendor_model: str = "mistral-large-latest") -> Model:
    return Model.model_validate({"provider": "p", "vendor_model": vendor_model, "unsupported": policy})


def encoded(policy: str = "reject", **fields: Any) -> HttpRequest:
    task = CallTask(
        request_id="r", tenant="t", attempt=1, attempt_id="a", model="m", lane="standard", task_type="chat",
        accepted_at=0, deadline_at=1, issued_at=0, config_version="v", route_partition=0,
        input_tokens_estimate=7, max_output_tokens=4096, request=RequestEvent(id="r", **fields),
    )  # fmt: skip
    return MistralAdapter().encode(task, model_of(policy))


def body(policy: str = "reject", **fields: Any) -> dict[str, Any]:
    """The body of a request; it has passed the vendor's types."""
    sent: dict[str, Any] = orjson.loads(encoded(policy, **fields).body)
    check_request(sent)
    return sent
