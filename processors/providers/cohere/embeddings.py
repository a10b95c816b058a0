"""Embeddings and rankings of Cohere (v2 embed and rerank)."""

from typing import Any, Final

import msgspec
import orjson

from processors.providers.base import HttpRequest
from processors.providers.bounds import LONGEST_USAGE, UNREADABLE, possible
from processors.providers.embeddings import Embeddings, Ranking, ranking, unreadable
from processors.providers.encoding import JSON_HEADERS
from schemas.config import Model
from schemas.records import Usage

# The canonical input types; any other is taken for one of Cohere's own (classification, clustering).
_TYPES: Final = {"query": "search_query", "document": "search_document"}


class _Vectors(msgspec.Struct):
    float_: list[list[float]] = msgspec.field(name="float")


class _Embedded(msgspec.Struct):
    embeddings: _Vectors
    meta: msgspec.Raw = msgspec.Raw(b"null")


class _Place(msgspec.Struct):
    index: int
    relevance_score: float


class _Ranked(msgspec.Struct):
    results: list[_Place]
    meta: msgspec.Raw = msgspec.Raw(b"null")


class _Billed(msgspec.Struct):
    input_tokens: float | None = None


class _Meta(msgspec.Struct):
    billed_units: _Billed | None = None


_embedded_decoder = msgspec.json.Decoder(_Embedded)
_ranked_decoder = msgspec.json.Decoder(_Ranked)
_meta_decoder = msgspec.json.Decoder(_Meta)


def encode_embeddings(
    inputs: list[str], model: Model, *, dimensions: int | None = None, input_type: str | None = None
) -> HttpRequest:
    """Ask for the vectors of `inputs` (at most 96). `input_type`: query, document (taken where left out), or a type of
    Cohere's. An input that is too long is an error, not cut silently.
    """
    body: dict[str, Any] = {
        "model": model.vendor_model,
        "texts": inputs,
        "input_type": _TYPES.get(input_type or "document", input_type),
        "embedding_types": ["float"],
        "truncate": "NONE",
    }
    if dimensions is not None:
        body["output_dimension"] = dimensions
    return HttpRequest("POST", "/embed", dict(JSON_HEADERS), orjson.dumps(body))


def decode_embeddings(body: bytes) -> Embeddings:
    """The vectors of an answer, in the order of the inputs. Raises ProviderFailure."""
    try:
        seen = _embedded_decoder.decode(body)
    except UNREADABLE as error:
        raise unreadable(str(error)) from error
    return Embeddings(seen.embeddings.float_, _usage(bytes(seen.meta)))


def encode_rerank(query: str, documents: list[str], model: Model, top_n: int | None = None) -> HttpRequest:
    """Ask for the order of `documents` by how well they answer `query`."""
    body: dict[str, Any] = {"model": model.vendor_model, "query": query, "documents": documents}
    if top_n is not None:
        body["top_n"] = top_n
    return HttpRequest("POST", "/rerank", dict(JSON_HEADERS), orjson.dumps(body))


def decode_rerank(body: bytes) -> Ranking:
    """The ranking of an answer, the best first. It is billed by searches: usage has them in `raw`, and no tokens.

    Raises ProviderFailure.
    """
    try:
        seen = _ranked_decoder.decode(body)
    except UNREADABLE as error:
        raise unreadable(str(error)) from error
    return ranking([(place.index, place.relevance_score) for place in seen.results], _usage(bytes(seen.meta)))


def _usage(meta: bytes) -> Usage:
    """The billed tokens; unknown where none are told."""
    if meta == b"null":
        return Usage()
    raw = meta[:LONGEST_USAGE].decode(errors="replace")
    try:
        billed = _meta_decoder.decode(meta).billed_units
    except UNREADABLE:
        return Usage(raw=raw)
    tokens = None if billed is None else billed.input_tokens
    if tokens is None or not possible(tokens):
        return Usage(raw=raw)
    return Usage(input_uncached=int(tokens), output=0, raw=raw)
