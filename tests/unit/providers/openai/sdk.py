"""The vendor's own types as judges: what they don't accept, or know nothing of, isn't the vendor's wire."""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from openai.types import CreateEmbeddingResponse, EmbeddingCreateParams
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming
from pydantic import BaseModel, TypeAdapter

from tests.fuzz_providers import FIXTURES

__all__ = [
    "ChatCompletion", "ChatCompletionChunk", "CompletionCreateParamsStreaming", "CreateEmbeddingResponse",
    "EmbeddingCreateParams", "Response", "ResponseCreateParamsStreaming", "ResponseStreamEvent", "events", "fixture",
    "parsed", "strictly", "without",
]  # fmt: skip


def fixture(name: str) -> bytes:
    """A fixture file, as `openai/chat_text.sse`."""
    return (FIXTURES / name).read_bytes()


def fixtures(pattern: str) -> list[str]:
    """Names of fixture files."""
    return sorted(str(path.relative_to(FIXTURES)) for path in Path(FIXTURES).glob(pattern))


def events(name: str) -> list[Any]:
    """The JSON of each event of a stream, but for the end mark."""
    lines = [line[6:] for line in fixture(name).splitlines() if line.startswith(b"data: ")]
    return [orjson.loads(line) for line in lines if line != b"[DONE]"]


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def parsed(kind: Any, value: Any) -> Any:
    """What the vendor's type knows of `value`; the rest is passed over. Raises pydantic.ValidationError."""
    return _consumed(_adapter(kind).validate_python(value), [])


def strictly(kind: Any, value: Any) -> Any:
    """What the vendor's type makes of `value`: the same, as it must have a place for everything in it.

    Raises ValidationError, AssertionError.
    """
    strange: list[str] = []
    seen = _consumed(_adapter(kind).validate_python(value), strange)
    assert not strange, f"the vendor's type doesn't know {strange}"
    assert seen == value, "the vendor's type has no place for a part of this"
    return seen


def _consumed(value: Any, strange: list[str]) -> Any:
    """What was validated as plain values; lists that validate themselves only while they are read are read here."""
    if isinstance(value, BaseModel):
        strange += value.model_extra or {}
        names = {name: field.alias or name for name, field in type(value).model_fields.items()}
        fields = [name for name in value.model_fields_set if name in names]
        return {names[name]: _consumed(getattr(value, name), strange) for name in fields}
    if isinstance(value, dict):
        return {key: _consumed(item, strange) for key, item in value.items()}
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return value
    return [_consumed(item, strange) for item in value]


def without(value: Any, paths: Iterable[tuple[str | int, ...]]) -> Iterator[tuple[str, Any]]:
    """Copies of `value`, each without the field at one of the paths that it has."""
    for path in paths:
        copy = deepcopy(value)
        place = copy
        try:
            for step in path[:-1]:
                place = place[step]
            del place[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue
        yield ".".join(map(str, path)), copy
