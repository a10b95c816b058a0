"""Azure OpenAI: addresses by version, content filters, errors."""

from typing import Any

import orjson
import pytest

from processors.providers.openai.azure import FEATURES, AzureAdapter
from schemas.config import Model, Provider
from tests.unit.providers.openai.sdk import CompletionCreateParamsStreaming, fixture, strictly
from tests.unit.providers.openai.tasks import task

MODEL = Model.model_validate({"provider": "p", "vendor_model": "my deployment/1"})


def adapter(**fields: Any) -> AzureAdapter:
    base = {"kind": "azure", "base_url": "https://name.openai.azure.com", "api_key": "env:K"}
    return AzureAdapter(Provider.model_validate({**base, **fields}))


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, "/openai/v1/chat/completions"),
        ({"api_version": "v1"}, "/openai/v1/chat/completions"),
        ({"api_version": "preview"}, "/openai/v1/chat/completions?api-version=preview"),
        ({"base_url": "https://x.example/openai/v1/"}, "/chat/completions"),
        (
            {"api_version": "2024-10-21"},
            "/openai/deployments/my%20deployment%2F1/chat/completions?api-version=2024-10-21",
        ),
        (
            {"api_version": "2024-10-21", "base_url": "https://x.example/openai"},
            "/deployments/my%20deployment%2F1/chat/completions?api-version=2024-10-21",
        ),
    ],
)
def test_addresses(fields: dict[str, Any], path: str) -> None:
    request = adapter(**fields).encode(task(prompt="x"), MODEL)
    assert request.path == path
    assert orjson.loads(request.body)["model"] == "my deployment/1"


def test_every_operation_has_the_same_address() -> None:
    asked = adapter(api_version="2024-10-21").encode_embeddings(["x"], MODEL)
    assert asked.path == "/openai/deployments/my%20deployment%2F1/embeddings?api-version=2024-10-21"


@pytest.mark.parametrize(
    ("version", "limit", "usage"),
    [
        (None, "max_completion_tokens", True),
        ("2024-10-21", "max_completion_tokens", True),
        ("2024-06-01", "max_tokens", False),
    ],
)
def test_older_versions_get_what_they_know(version: str | None, limit: str, usage: bool) -> None:
    body = orjson.loads(adapter(api_version=version).encode(task(prompt="x"), MODEL).body)
    strictly(CompletionCreateParamsStreaming, body)
    assert body[limit] == 77 and ("stream_options" in body) is usage


def test_an_answer_with_filter_results() -> None:
    decoder = adapter().decoder("text/event-stream")
    decoder.feed(fixture("azure/chat_text.sse"))
    told = decoder.finish()
    assert [(p.type, p.text) for p in told.parts] == [("text", "Hello!")]
    assert told.vendor_model == "gpt-4o-2024-11-20" and told.usage is not None and told.usage.output == 2


def test_what_was_filtered_is_told() -> None:
    decoder = adapter().decoder("text/event-stream")
    decoder.feed(fixture("azure/chat_filtered.sse"))
    told = decoder.finish()
    assert told.finish_reason == "content_filter"
    assert [p.type for p in told.parts] == ["text", "vendor:azure"]
    assert orjson.loads(told.parts[1].text or "")["violence"] == {"filtered": True, "severity": "medium"}


@pytest.mark.parametrize(
    ("name", "status", "error_class", "retriable"),
    [
        ("azure/error_400_content_filter.json", 400, "content_filter", False),
        ("azure/error_404_deployment.json", 404, "no_such_model", True),
        ("azure/error_429.json", 429, "rate_limited", True),
        ("azure/error_401.json", 401, "auth", True),
    ],
)
def test_errors(name: str, status: int, error_class: str, retriable: bool) -> None:
    error = adapter().failure(status, 8000, fixture(name)).error
    assert (error.error_class, error.retriable, error.retry_after_ms) == (error_class, retriable, 8000)


def test_a_filtered_prompt_says_for_what() -> None:
    error = adapter().failure(400, None, fixture("azure/error_400_content_filter.json")).error
    assert error.message.endswith("(content filter: hate (high), jailbreak)")


def test_features() -> None:
    assert FEATURES["content_filter"].support == "yes" and FEATURES["embeddings"].support == "yes"
