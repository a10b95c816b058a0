"""Embeddings of the Gemini API and of Vertex AI: asked for as Google's SDK does, read as it does."""

from typing import Any

import httpx
import orjson
import pytest
from google import genai
from google.genai import types

from processors.providers.base import HttpRequest, ProviderFailure
from processors.providers.gemini.embeddings import (
    decode_embeddings,
    decode_vertex_embeddings,
    encode_embeddings,
    encode_vertex_embeddings,
)
from schemas.records import Usage
from schemas.signals import Invalid
from tests.fuzz_providers import FIXTURES
from tests.unit.providers.gemini.sdk import model_of


def asked_by_sdk(
    vendor_model: str, inputs: list[str], fixture: str, *, vertex: bool, **config: Any
) -> tuple[str, Any, list[list[float]]]:
    """(path, body, vectors) of the SDK's call for the same, answered by a fixture."""
    caught: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        caught.append(request)
        return httpx.Response(200, content=(FIXTURES / fixture).read_bytes())

    options = types.HttpOptions(client_args={"transport": httpx.MockTransport(handler)})
    client = genai.Client(vertexai=vertex, api_key="k", http_options=options)
    wanted = types.EmbedContentConfig(**config)
    contents: Any = inputs
    seen = client.models.embed_content(model=vendor_model, contents=contents, config=wanted)
    vectors = [one.values or [] for one in seen.embeddings or []]
    return caught[0].url.path, orjson.loads(caught[0].content), vectors


def sent(request: HttpRequest) -> Any:
    assert request.method == "POST"
    return orjson.loads(request.body)


def test_many_inputs_of_the_gemini_api() -> None:
    inputs = ["first", "second"]
    request = encode_embeddings(inputs, model_of("gemini-embedding-001"), dimensions=3, input_type="query")
    path, body, vectors = asked_by_sdk(
        "gemini-embedding-001", inputs, "gemini/embed_batch.json", vertex=False,
        task_type="RETRIEVAL_QUERY", output_dimensionality=3,
    )  # fmt: skip
    assert path.endswith(request.path)
    theirs = [{**one, "content": {"parts": one["content"]["parts"]}} for one in body["requests"]]
    assert sent(request)["requests"] == theirs
    seen = decode_embeddings((FIXTURES / "gemini/embed_batch.json").read_bytes())
    assert seen.vectors == vectors == [[0.1, -0.25, 0.5], [-1.0, 0.0, 0.75]]
    assert seen.usage == Usage(), "untold is unknown"


def test_one_input_of_the_gemini_api() -> None:
    request = encode_embeddings(["x"], model_of("gemini-embedding-001"), input_type="SEMANTIC_SIMILARITY")
    assert request.path == "/models/gemini-embedding-001:embedContent"
    assert sent(request) == {
        "model": "models/gemini-embedding-001",
        "taskType": "SEMANTIC_SIMILARITY",
        "content": {"parts": [{"text": "x"}]},
    }
    seen = decode_embeddings((FIXTURES / "gemini/embed.json").read_bytes())
    assert seen.vectors == [[0.013168517, -0.00871193, -0.046782527]]
    assert (seen.usage.input_uncached, seen.usage.output) == (7, 0)


def test_predict_of_vertex() -> None:
    inputs = ["first", "second"]
    request = encode_vertex_embeddings(
        inputs, model_of("text-embedding-005"), dimensions=3, input_type="document"
    )
    path, body, vectors = asked_by_sdk(
        "text-embedding-005", inputs, "vertex/predict.json", vertex=True,
        task_type="RETRIEVAL_DOCUMENT", output_dimensionality=3, auto_truncate=False,
    )  # fmt: skip
    assert path.endswith(request.path) and sent(request) == body
    seen = decode_vertex_embeddings((FIXTURES / "vertex/predict.json").read_bytes())
    assert seen.vectors == vectors == [[-0.06, 0.03, 0.02], [0.11, 0.2, -0.3]]
    assert (seen.usage.input_uncached, seen.usage.output) == (11, 0)
    assert seen.usage.raw == '{\n    "billableCharacterCount": 41\n  }'


def test_embed_content_of_vertex() -> None:
    vendor_model = "gemini-embedding-2-preview"
    request = encode_vertex_embeddings(["x"], model_of(vendor_model), dimensions=3, input_type="query")
    path, body, vectors = asked_by_sdk(
        vendor_model, ["x"], "vertex/embed.json", vertex=True, task_type="RETRIEVAL_QUERY", output_dimensionality=3
    )  # fmt: skip
    assert path.endswith(request.path) and sent(request) == body
    seen = decode_vertex_embeddings((FIXTURES / "vertex/embed.json").read_bytes())
    assert seen.vectors == vectors and seen.usage.input_uncached == 4
    with pytest.raises(Invalid, match="one input"):
        encode_vertex_embeddings(["x", "y"], model_of(vendor_model))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b'{"embedding":{}}', b'{"embeddings":[{"values":["x"]}]}', b'{"predictions":5}',
        b'{"predictions":[{"embeddings":{"values":null}}]}', b'{"embedding":{"values":[NaN]}}', b"\xff",
        b'{"predictions":[{"embeddings":' + b"[" * 9999 + b"]" * 9999 + b"}]}",
    ],
)  # fmt: skip
def test_what_is_no_answer_is_a_failure(body: bytes) -> None:
    with pytest.raises(ProviderFailure) as failed:
        decode_vertex_embeddings(body)
    assert failed.value.error.error_class == "provider_error" and failed.value.error.maybe_paid


@pytest.mark.parametrize("count", [b"-1", b"1e300", b"null"])
def test_a_count_that_can_t_be_true_is_unknown(count: bytes) -> None:
    body = b'{"predictions":[{"embeddings":{"values":[1],"statistics":{"token_count":%s}}}]}' % count
    assert decode_vertex_embeddings(body).usage.input_uncached is None
