"""Embeddings and rankings of servers that speak like OpenAI."""

from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from processors.providers.base import ProviderFailure
from processors.providers.embeddings import decode_embeddings, decode_rerank
from processors.providers.openai.adapter import OpenAiAdapter
from schemas.config import Provider
from schemas.signals import Invalid
from tests.unit.providers.openai.sdk import (
    CreateEmbeddingResponse,
    EmbeddingCreateParams,
    fixture,
    strictly,
    without,
)
from tests.unit.providers.openai.tasks import DROPPING, MODEL

OPENAI = OpenAiAdapter(Provider.model_validate({"kind": "openai", "api_key": "env:K"}))


def preset(name: str) -> OpenAiAdapter:
    return OpenAiAdapter(
        Provider.model_validate({"kind": "openai", "preset": name, "base_url": "http://x.example/v1"})
    )


def test_the_request_is_the_vendor_s() -> None:
    request = OPENAI.encode_embeddings(["a", "b"], MODEL, dimensions=256)
    assert (request.method, request.path, request.dropped) == ("POST", "/embeddings", ())
    body = orjson.loads(request.body)
    strictly(EmbeddingCreateParams, body)
    assert body == {"model": "vendor-9", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 256}
    for _, broken in without(body, [("model",), ("input",)]):
        with pytest.raises(ValidationError):
            strictly(EmbeddingCreateParams, broken)


def test_packing_is_asked_of_servers_that_know_it() -> None:
    assert orjson.loads(preset("together").encode_embeddings(["a"], MODEL).body)["encoding_format"] == "float"
    assert orjson.loads(preset("vllm").encode_embeddings(["a"], MODEL).body)["encoding_format"] == "base64"


def test_the_kind_of_input_is_dropped_and_told() -> None:
    assert OPENAI.encode_embeddings(["a"], DROPPING, input_type="query").dropped == ("input_type",)
    with pytest.raises(Invalid, match="input_type"):
        OPENAI.encode_embeddings(["a"], MODEL, input_type="query")


def test_who_has_none_says_so() -> None:
    with pytest.raises(Invalid, match="groq has no embeddings"):
        preset("groq").encode_embeddings(["a"], MODEL)
    with pytest.raises(Invalid, match="openai has no rerank"):
        OPENAI.encode_rerank("q", ["a"], MODEL)


def test_the_fixture_is_the_vendor_s() -> None:
    told = orjson.loads(fixture("openai/embeddings.json"))
    strictly(CreateEmbeddingResponse, told)
    paths: list[tuple[str | int, ...]] = [
        ("data",), ("data", 0, "embedding"), ("data", 0, "index"), ("usage", "prompt_tokens")
    ]  # fmt: skip
    broken = list(without(told, paths))
    assert len(broken) == 4
    for _, value in broken:
        with pytest.raises(ValidationError):
            strictly(CreateEmbeddingResponse, value)


def test_vectors_of_numbers() -> None:
    told = decode_embeddings(fixture("openai/embeddings.json"))
    assert told.vectors == [[0.0023064255, -0.009327292, 0.5, -0.0028842222], [1.0, 0.0, -1.0, 0.25]]
    assert (told.usage.input_uncached, told.usage.output) == (8, 0)


def test_packed_vectors_come_in_the_order_of_the_inputs() -> None:
    told = decode_embeddings(fixture("openai/embeddings_base64.json"))
    assert told.vectors == [[0.5, 0.25, -0.125, 2.0], [1.0, 0.0, -1.0, 0.25]]


@pytest.mark.parametrize("name", ["vllm", "llama-cpp", "together"])
def test_a_ranking_is_asked_for(name: str) -> None:
    request = preset(name).encode_rerank("which?", ["a", "b"], MODEL, top_n=1)
    assert request.path == "/rerank"
    asked = {"model": "vendor-9", "query": "which?", "documents": ["a", "b"], "top_n": 1}
    assert orjson.loads(request.body) == asked


@pytest.mark.parametrize(
    ("name", "order", "tokens"),
    [
        ("vllm/rerank.json", [1, 0], 56),
        ("llama-cpp/rerank.json", [1, 2, 0], 42),
        ("together/rerank.json", [0, 2], 1837),
    ],
)
def test_rankings_come_best_first(name: str, order: list[int], tokens: int) -> None:
    told = decode_rerank(fixture(name))
    assert [index for index, _ in told.items] == order
    assert told.items == sorted(told.items, key=lambda item: -item[1])
    assert (told.usage.input_uncached, told.usage.output) == (tokens, 0)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"data":[{"embedding":"a$"}]}',
        b'{"data":[{"embedding":"AAA="}]}',
        b'{"data":[{"embedding":[1],"index":1}]}',
        b'{"data":[{"embedding":[1],"index":0},{"embedding":[2],"index":0}]}',
        b'{"data":[{"embedding":[1e999]}]}',
    ],
)
def test_vectors_that_can_t_be_read_are_a_failure(body: bytes) -> None:
    with pytest.raises(ProviderFailure) as failed:
        decode_embeddings(body)
    assert failed.value.error.error_class == "provider_error"


@pytest.mark.parametrize(
    "results",
    [[{"index": 0}], [{"index": 0, "relevance_score": 1}] * 2, [{"index": -1, "relevance_score": 1}]],
)
def test_rankings_that_can_t_be_read_are_a_failure(results: list[dict[str, Any]]) -> None:
    with pytest.raises(ProviderFailure):
        decode_rerank(orjson.dumps({"results": results}))


def test_usage_that_can_t_be_true_counts_as_untold() -> None:
    body = {"data": [{"embedding": [1.0]}], "usage": {"prompt_tokens": -4}}
    assert decode_embeddings(orjson.dumps(body)).usage.input_uncached is None
