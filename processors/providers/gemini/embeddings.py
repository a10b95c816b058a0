"""Embeddings of Google: `embedContent` and `batchEmbedContents` of the Gemini API, `predict` of Vertex AI.

Vertex AI serves its text models by `predict`; Gemini's embedding models after the first by `embedContent`, which
takes one input a call.
"""

from typing import Any, Final

import msgspec
import orjson

from processors.providers.base import HttpRequest
from processors.providers.bounds import LONGEST_USAGE, UNREADABLE, possible
from processors.providers.embeddings import Embeddings, unreadable
from processors.providers.encoding import JSON_HEADERS
from processors.providers.gemini.adapter import GeminiAdapter, VertexAdapter
from processors.providers.gemini.wire import NO_RAW, usage_of
from schemas.config import Model
from schemas.records import Usage
from schemas.signals import Invalid

# The canonical input types; any other is taken for a task type of Google's own (SEMANTIC_SIMILARITY, CLUSTERING ...).
_TASKS: Final = {"query": "RETRIEVAL_QUERY", "document": "RETRIEVAL_DOCUMENT"}
_BY_PREDICT: Final = ("gemini-embedding-001", "gemini-embedding-exp")


class _Values(msgspec.Struct):
    values: list[float]


class _Answer(msgspec.Struct, rename="camel"):
    embedding: _Values | None = None
    embeddings: list[_Values] | None = None
    usage_metadata: msgspec.Raw = NO_RAW


class _Statistics(msgspec.Struct):
    token_count: int | float | None = None


class _Predicted(msgspec.Struct):
    values: list[float]
    statistics: _Statistics | None = None


class _Prediction(msgspec.Struct):
    embeddings: _Predicted


class _Predictions(msgspec.Struct, rename="camel"):
    predictions: list[_Prediction]
    metadata: msgspec.Raw = NO_RAW


_answer_decoder = msgspec.json.Decoder(_Answer)
_predictions_decoder = msgspec.json.Decoder(_Predictions)
_paths = GeminiAdapter()
_vertex_paths = VertexAdapter()


def encode_embeddings(
    inputs: list[str], model: Model, *, dimensions: int | None = None, input_type: str | None = None
) -> HttpRequest:
    """Ask the Gemini API for the vectors of `inputs`, which may be many. `input_type`: query, document, or a task type
    of Google's.
    """
    path = _paths.path(model.vendor_model)
    options: dict[str, Any] = {"model": path.removeprefix("/")}
    if input_type is not None:
        options["taskType"] = _TASKS.get(input_type, input_type)
    if dimensions is not None:
        options["outputDimensionality"] = dimensions
    requests = [{**options, "content": {"parts": [{"text": text}]}} for text in inputs]
    if len(requests) == 1:
        return _post(f"{path}:embedContent", requests[0])
    return _post(f"{path}:batchEmbedContents", {"requests": requests})


def decode_embeddings(body: bytes) -> Embeddings:
    """The vectors of an answer of the Gemini API, or of Vertex AI's `embedContent`. Raises ProviderFailure."""
    try:
        seen = _answer_decoder.decode(body)
    except UNREADABLE as error:
        raise unreadable(str(error)) from error
    found = seen.embeddings if seen.embedding is None else [seen.embedding]
    if found is None:
        raise unreadable("it has no embeddings")
    return Embeddings([one.values for one in found], _usage(bytes(seen.usage_metadata)))


def _usage(raw: bytes) -> Usage:
    if raw == b"null":
        return Usage()
    told = usage_of(raw)
    return Usage(
        input_uncached=told.input_uncached,
        output=None if told.input_uncached is None else 0,
        image_input=told.image_input,
        audio_input=told.audio_input,
        raw=told.raw,
    )


def encode_vertex_embeddings(
    inputs: list[str], model: Model, *, dimensions: int | None = None, input_type: str | None = None
) -> HttpRequest:
    """Ask Vertex AI for the vectors of `inputs`. Raises signals.Invalid for several of them where a model takes one."""
    path, task = _vertex_paths.path(model.vendor_model), _TASKS.get(input_type or "", input_type)
    if by_embed_content(model.vendor_model):
        if len(inputs) != 1:
            raise Invalid("invalid_request", f"{model.vendor_model} takes one input a call on Vertex AI")
        config = {"taskType": task, "outputDimensionality": dimensions}
        body: dict[str, Any] = {"content": {"role": "user", "parts": [{"text": inputs[0]}]}}
        told = {name: value for name, value in config.items() if value is not None}
        return _post(f"{path}:embedContent", {**body, "embedContentConfig": told} if told else body)
    instances = [
        {"content": text} if task is None else {"content": text, "task_type": task} for text in inputs
    ]
    # Not cut silently: an input that is too long is an error.
    parameters: dict[str, Any] = {"autoTruncate": False}
    if dimensions is not None:
        parameters["outputDimensionality"] = dimensions
    return _post(f"{path}:predict", {"instances": instances, "parameters": parameters})


def by_embed_content(vendor_model: str) -> bool:
    """Whether Vertex AI serves the model by `embedContent` instead of `predict`."""
    name = vendor_model.rpartition("/")[2]
    return "gemini" in name and not name.startswith(_BY_PREDICT)


def decode_vertex_embeddings(body: bytes) -> Embeddings:
    """The vectors of an answer of Vertex AI, of either form. Raises ProviderFailure."""
    if b'"predictions"' not in body:
        return decode_embeddings(body)
    try:
        seen = _predictions_decoder.decode(body)
    except UNREADABLE as error:
        raise unreadable(str(error)) from error
    found = [prediction.embeddings for prediction in seen.predictions]
    return Embeddings([one.values for one in found], _predicted_usage(found, bytes(seen.metadata)))


def _predicted_usage(found: list[_Predicted], metadata: bytes) -> Usage:
    """The tokens that were counted for each input, together; unknown where one has none."""
    counts = [one.statistics.token_count if one.statistics is not None else None for one in found]
    raw = None if metadata == b"null" else metadata[:LONGEST_USAGE].decode(errors="replace")
    told = [int(n) for n in counts if n is not None and possible(n)]
    if len(told) != len(counts):
        return Usage(raw=raw)
    return Usage(input_uncached=sum(told), output=0, raw=raw)


def _post(path: str, body: dict[str, Any]) -> HttpRequest:
    return HttpRequest("POST", path, dict(JSON_HEADERS), orjson.dumps(body))
