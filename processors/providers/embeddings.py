"""Embeddings and rankings in one form for every vendor, and the OpenAI form of asking for them.

Vendors of other wires have functions of the same names in modules of their own. No I/O here: a function makes an
`HttpRequest`, another reads the body of the answer.
"""

import base64
import binascii
from array import array
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from processors.providers import encoding
from processors.providers.base import HttpRequest, ProviderFailure
from processors.providers.bounds import UNREADABLE, possible
from processors.providers.failures import failure
from processors.providers.unsupported import Dropped
from schemas.config import Model
from schemas.records import Usage


@dataclass(slots=True)
class Embeddings:
    """One vector an input, in the order of the inputs. Usage has input alone."""

    vectors: list[list[float]]
    usage: Usage


@dataclass(slots=True)
class Ranking:
    """(index of the document, its score), the best first. Scores compare within one ranking only."""

    items: list[tuple[int, float]]
    usage: Usage


class _Vector(msgspec.Struct):
    embedding: list[float] | str
    index: int | None = None


class _Counts(msgspec.Struct):
    prompt_tokens: int | None = None
    total_tokens: int | None = None


class _EmbeddingsBody(msgspec.Struct):
    data: list[_Vector]
    usage: msgspec.Raw = msgspec.Raw(b"null")


class _Place(msgspec.Struct):
    index: int
    relevance_score: float


class _RankingBody(msgspec.Struct):
    results: list[_Place]
    usage: msgspec.Raw = msgspec.Raw(b"null")


_embeddings_decoder = msgspec.json.Decoder(_EmbeddingsBody)
_ranking_decoder = msgspec.json.Decoder(_RankingBody)
_counts_decoder = msgspec.json.Decoder(_Counts)


def encode_embeddings(
    inputs: list[str],
    model: Model,
    *,
    dimensions: int | None = None,
    input_type: str | None = None,
    path: str = "/embeddings",
    packed: bool = False,
) -> HttpRequest:
    """Ask an OpenAI-compatible server for the vectors of `inputs`.

    `input_type` (query, document) is unknown to this wire; `packed` asks for base64, a third of the bytes, which not
    every compatible server knows. Raises signals.Invalid under `unsupported: reject`.
    """
    dropped = Dropped(model.unsupported)
    body: dict[str, Any] = {"model": model.vendor_model, "input": inputs}
    body["encoding_format"] = "base64" if packed else "float"
    if dimensions is not None:
        body["dimensions"] = dimensions
    if input_type is not None:
        dropped.note("input_type", "this wire doesn't tell queries from documents")
    return HttpRequest("POST", path, dict(encoding.JSON_HEADERS), orjson.dumps(body), dropped.names)


def decode_embeddings(body: bytes) -> Embeddings:
    """The vectors of an answer, put into the order of the inputs. Raises ProviderFailure."""
    try:
        seen = _embeddings_decoder.decode(body)
        places = [place if item.index is None else item.index for place, item in enumerate(seen.data)]
        if sorted(places) != list(range(len(places))):
            raise unreadable("the indices of the vectors are not 0 to their count")
        vectors: list[list[float]] = [[] for _ in places]
        for place, item in zip(places, seen.data, strict=True):
            vectors[place] = _unpacked(item.embedding) if isinstance(item.embedding, str) else item.embedding
    except UNREADABLE as error:
        raise unreadable(str(error)) from error
    return Embeddings(vectors, input_usage(seen.usage))


def _unpacked(text: str) -> list[float]:
    """Little-endian 32-bit floats in base64."""
    numbers = array("f")
    try:
        numbers.frombytes(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise unreadable(f"a packed vector: {error}") from error
    return numbers.tolist()


def encode_rerank(
    query: str, documents: list[str], model: Model, top_n: int | None = None, *, path: str = "/rerank"
) -> HttpRequest:
    """Ask for the order of `documents` by how well they answer `query` (vLLM, llama.cpp, Together and others)."""
    body: dict[str, Any] = {"model": model.vendor_model, "query": query, "documents": documents}
    if top_n is not None:
        body["top_n"] = top_n
    return HttpRequest("POST", path, dict(encoding.JSON_HEADERS), orjson.dumps(body))


def decode_rerank(body: bytes) -> Ranking:
    """The ranking of an answer; some servers give it unsorted. Raises ProviderFailure."""
    try:
        seen = _ranking_decoder.decode(body)
    except UNREADABLE as error:
        raise unreadable(str(error)) from error
    return ranking([(place.index, place.relevance_score) for place in seen.results], input_usage(seen.usage))


def ranking(items: list[tuple[int, float]], usage: Usage) -> Ranking:
    """The ranking of documents and their scores, as they came. Raises ProviderFailure where it can't be one."""
    indices = {index for index, _ in items}
    if len(indices) != len(items) or (indices and min(indices) < 0):
        raise unreadable("a ranking names a document twice, or one before the first")
    return Ranking(sorted(items, key=lambda item: -item[1]), usage)


def input_usage(raw: msgspec.Raw) -> Usage:
    """Usage of a call that has no output: `prompt_tokens`, else `total_tokens`; what can't be true is untold."""
    text = bytes(raw)
    if text == b"null":
        return Usage()
    told = text[: 16 * 1024].decode(errors="replace")
    try:
        seen = _counts_decoder.decode(text)
    except UNREADABLE:
        return Usage(raw=told)
    tokens = seen.prompt_tokens if seen.prompt_tokens is not None else seen.total_tokens
    if not possible(tokens):
        tokens = None
    return Usage(input_uncached=tokens, output=None if tokens is None else 0, raw=told)


def unreadable(why: str) -> ProviderFailure:
    """The failure of an answer that is not of the agreed form."""
    return failure("provider_error", f"the answer is not what was agreed: {why}")
