"""The fixtures hold what Mistral's own SDK would read."""

import copy
from typing import Any

import orjson
import pydantic
import pytest

from tests.fuzz_providers import FIXTURES
from tests.unit.providers.mistral.sdk import check_answer, check_chunk, check_embeddings

HERE = FIXTURES / "mistral"
STREAMS = sorted(path.name for path in HERE.glob("*.sse"))
FAILS = (pydantic.ValidationError, AssertionError)


def chunks(name: str) -> list[dict[str, Any]]:
    lines = (HERE / name).read_bytes().splitlines()
    return [orjson.loads(line[6:]) for line in lines if line.startswith(b"data: {")]


def without(value: dict[str, Any], path: str) -> dict[str, Any]:
    """A copy that lacks the field at `path`."""
    out = copy.deepcopy(value)
    at: Any = out
    *way, last = path.split(".")
    for step in way:
        at = at[int(step) if step.isdigit() else step]
    del at[last]
    return out


@pytest.mark.parametrize("name", STREAMS)
def test_streams(name: str) -> None:
    told = chunks(name)
    assert (HERE / name).read_bytes().endswith(b"data: [DONE]\n\n")
    for chunk in told:
        check_chunk(chunk)
    assert told[-1]["choices"][0]["finish_reason"] and told[-1]["usage"]


def test_whole_answers() -> None:
    check_answer(orjson.loads((HERE / "whole.json").read_bytes()))
    check_embeddings(orjson.loads((HERE / "embeddings.json").read_bytes()))


@pytest.mark.parametrize(
    ("name", "at", "path"),
    [
        ("text.sse", 0, "id"),
        ("text.sse", 0, "model"),
        ("text.sse", 0, "choices"),
        ("text.sse", 1, "choices.0.index"),
        ("text.sse", 1, "choices.0.delta"),
        ("text.sse", 1, "choices.0.finish_reason"),
        ("tools.sse", 1, "choices.0.delta.tool_calls.0.function"),
        ("tools.sse", 1, "choices.0.delta.tool_calls.0.function.name"),
        ("tools.sse", 1, "choices.0.delta.tool_calls.0.function.arguments"),
        ("thinking.sse", 1, "choices.0.delta.content.0.thinking"),
        ("reference.sse", 1, "choices.0.delta.content.1.reference_ids"),
    ],
)
def test_a_chunk_without_a_required_field_is_none(name: str, at: int, path: str) -> None:
    chunk = chunks(name)[at]
    check_chunk(chunk)
    with pytest.raises(FAILS):
        check_chunk(without(chunk, path))


@pytest.mark.parametrize(
    "path", ["id", "object", "model", "usage", "created", "choices", "choices.0.finish_reason"]
)
def test_an_answer_without_a_required_field_is_none(path: str) -> None:
    with pytest.raises(FAILS):
        check_answer(without(orjson.loads((HERE / "whole.json").read_bytes()), path))


@pytest.mark.parametrize("path", ["id", "object", "model", "usage", "data"])
def test_embeddings_without_a_required_field_are_none(path: str) -> None:
    with pytest.raises(FAILS):
        check_embeddings(without(orjson.loads((HERE / "embeddings.json").read_bytes()), path))


def test_a_field_that_mistral_doesn_t_know_is_none() -> None:
    chunk = chunks("text.sse")[1]
    chunk["choices"][0]["delta"]["reasoning_content"] = "x"
    with pytest.raises(FAILS):
        check_chunk(chunk)
