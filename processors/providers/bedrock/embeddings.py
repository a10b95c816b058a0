"""Embeddings and rankings on Bedrock: InvokeModel with the body that each family of models has for itself.

Titan embeds one text a call and counts its tokens; Cohere takes up to 96, and Bedrock tells their tokens in a header
alone, so that usage is unknown here.
"""

from typing import Any, Final
from urllib.parse import quote

import msgspec

from processors.providers import json_text
from processors.providers.base import HttpRequest
from processors.providers.bounds import UNREADABLE, possible
from processors.providers.embeddings import Embeddings, Ranking, unreadable
from processors.providers.embeddings import decode_rerank as _decode_rerank
from processors.providers.encoding import JSON_HEADERS
from processors.providers.unsupported import Dropped
from schemas.config import Model
from schemas.records import Usage
from schemas.signals import Invalid

_TITAN: Final = "amazon.titan-embed"
_COHERE: Final = "cohere.embed"
_COHERE_RERANK: Final = "cohere.rerank"
_INPUT_TYPES: Final = {"query": "search_query", "document": "search_document"}
_COHERE_API: Final = 2


class _ByType(msgspec.Struct):
    float_: list[list[float]] = msgspec.field(name="float")


class _Body(msgspec.Struct):
    """Titan has `embedding`, Cohere `embeddings`."""

    embedding: list[float] | None = None
    inputTextTokenCount: int | None = None
    embeddings: _ByType | None = None


_decoder = msgspec.json.Decoder(_Body)


def _invoke(model: Model, body: dict[str, Any], dropped: tuple[str, ...] = ()) -> HttpRequest:
    path = f"/model/{quote(model.vendor_model, safe='')}/invoke"
    return HttpRequest("POST", path, dict(JSON_HEADERS), json_text.write(body), dropped)


def encode_embeddings(
    inputs: list[str], model: Model, *, dimensions: int | None = None, input_type: str | None = None
) -> HttpRequest:
    """Ask for the vectors of `inputs`; Titan takes one a call. `input_type`: query, document, or Cohere's own.

    Raises signals.Invalid where the model can't be asked so.
    """
    if _COHERE in model.vendor_model:
        kind = _INPUT_TYPES.get(input_type or "document", input_type)
        body: dict[str, Any] = {
            "texts": inputs,
            "input_type": kind,
            "embedding_types": ["float"],
            "truncate": "NONE",
        }
        if dimensions is not None:
            body["output_dimension"] = dimensions
        return _invoke(model, body)
    if _TITAN not in model.vendor_model:
        text = f"no embeddings of {model.vendor_model!r} are known here: use Titan or Cohere"
        raise Invalid("invalid_request", text)
    if len(inputs) != 1:
        raise Invalid("invalid_request", f"{len(inputs)} inputs: this model embeds one text a call")
    dropped = Dropped(model.unsupported)
    if input_type is not None:
        dropped.note("input_type", "Titan doesn't tell queries from documents")
    body = {"inputText": inputs[0]}
    if dimensions is not None:
        body["dimensions"] = dimensions
    return _invoke(model, body, dropped.names)


def decode_embeddings(body: bytes) -> Embeddings:
    """The vectors of an answer. Raises ProviderFailure."""
    try:
        seen = _decoder.decode(body)
    except UNREADABLE as error:
        raise unreadable(str(error)) from error
    if seen.embedding is not None:
        tokens = seen.inputTextTokenCount
        if not possible(tokens):
            tokens = None
        usage = Usage(input_uncached=tokens, output=None if tokens is None else 0)
        return Embeddings([seen.embedding], usage)
    if seen.embeddings is None:
        raise unreadable("it has no embeddings")
    return Embeddings(seen.embeddings.float_, Usage())


def encode_rerank(query: str, documents: list[str], model: Model, top_n: int | None = None) -> HttpRequest:
    """Ask for the order of `documents` by how well they answer `query` (Cohere's and Amazon's rerank models)."""
    body: dict[str, Any] = {"query": query, "documents": documents}
    if top_n is not None:
        body["top_n"] = top_n
    if _COHERE_RERANK in model.vendor_model:
        body["api_version"] = _COHERE_API
    return _invoke(model, body)


def decode_rerank(body: bytes) -> Ranking:
    """The ranking of an answer; it tells no usage. Raises ProviderFailure."""
    return _decode_rerank(body)
