"""Embeddings and rankings on Bedrock."""

from typing import Any

import orjson
import pytest

from processors.providers.base import HttpRequest, ProviderFailure
from processors.providers.bedrock import embeddings
from schemas.config import Model
from schemas.signals import Invalid
from tests.unit.providers.bedrock.shapes import HERE

TITAN = "amazon.titan-embed-text-v2:0"


def model(vendor_model: str, policy: str = "reject") -> Model:
    return Model.model_validate({"provider": "p", "vendor_model": vendor_model, "unsupported": policy})


def sent(request: HttpRequest) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(request.body)
    return body


def test_titan_takes_one_text() -> None:
    request = embeddings.encode_embeddings(["x"], model(TITAN), dimensions=256)
    assert request.path == "/model/amazon.titan-embed-text-v2%3A0/invoke"
    assert sent(request) == {"inputText": "x", "dimensions": 256}
    with pytest.raises(Invalid, match="2 inputs"):
        embeddings.encode_embeddings(["x", "y"], model(TITAN))
    with pytest.raises(Invalid, match="input_type"):
        embeddings.encode_embeddings(["x"], model(TITAN), input_type="query")
    dropped = embeddings.encode_embeddings(["x"], model(TITAN, "drop"), input_type="query").dropped
    assert dropped == ("input_type",)


def test_cohere_takes_many() -> None:
    request = embeddings.encode_embeddings(
        ["x", "y"], model("cohere.embed-v4:0"), dimensions=512, input_type="query"
    )
    assert sent(request) == {
        "texts": ["x", "y"], "input_type": "search_query", "embedding_types": ["float"], "truncate": "NONE",
        "output_dimension": 512,
    }  # fmt: skip
    plain = sent(embeddings.encode_embeddings(["x"], model("cohere.embed-english-v3")))
    assert plain["input_type"] == "search_document"


def test_a_model_that_isn_t_known_is_refused() -> None:
    with pytest.raises(Invalid, match="use Titan or Cohere"):
        embeddings.encode_embeddings(["x"], model("meta.llama3"))


def test_vectors_and_their_usage() -> None:
    titan = embeddings.decode_embeddings((HERE / "embed_titan.json").read_bytes())
    assert titan.vectors == [[0.12, -0.5, 0.25]] and titan.usage.input_uncached == 7
    cohere = embeddings.decode_embeddings((HERE / "embed_cohere.json").read_bytes())
    assert cohere.vectors == [[0.1, 0.2], [0.3, 0.4]]
    assert cohere.usage.input_uncached is None, "unknown is never zero"


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"embedding":"x"}', b'{"embeddings":[[1]]}', b"\xff"])
def test_what_isn_t_an_embedding_is_a_failure(body: bytes) -> None:
    with pytest.raises(ProviderFailure):
        embeddings.decode_embeddings(body)


def test_a_ranking() -> None:
    request = embeddings.encode_rerank("q", ["a", "b"], model("cohere.rerank-v3-5:0"), 2)
    assert sent(request) == {"query": "q", "documents": ["a", "b"], "top_n": 2, "api_version": 2}
    assert "api_version" not in sent(embeddings.encode_rerank("q", ["a"], model("amazon.rerank-v1:0")))
    ranking = embeddings.decode_rerank((HERE / "rerank.json").read_bytes())
    assert ranking.items == [(1, 0.82), (0, 0.11)]
