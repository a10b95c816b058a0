"""The fixtures hold what the vendor's own SDK would read, so that what they prove is true of the vendor."""

import copy
from typing import Any

import orjson
import pydantic
import pytest

from tests.fuzz_providers import FIXTURES
from tests.unit.providers.anthropic.sdk import body, check_error, check_event, check_message, check_request

HERE = FIXTURES / "anthropic"
STREAMS = sorted(path.name for path in HERE.glob("*.sse"))
ERRORS = sorted(path.name for path in HERE.glob("error_*.json"))


def events(name: str) -> list[dict[str, Any]]:
    lines = (HERE / name).read_bytes().splitlines()
    return [orjson.loads(line[6:]) for line in lines if line.startswith(b"data: ")]


def without(value: dict[str, Any], path: str) -> dict[str, Any]:
    """A copy that lacks the field at `path`."""
    out: Any = copy.deepcopy(value)
    *way, last = path.split(".")
    at = out
    for step in way:
        at = at[int(step) if step.isdigit() else step]
    del at[last]
    whole: dict[str, Any] = out
    return whole


@pytest.mark.parametrize("name", STREAMS)
def test_streams(name: str) -> None:
    for event in events(name):
        check_event(event)


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    check_error(orjson.loads((HERE / name).read_bytes()))


def test_the_whole_message() -> None:
    check_message(orjson.loads((HERE / "message.json").read_bytes()))


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("message_start", "message"),
        ("message_start", "message.id"),
        ("message_start", "message.model"),
        ("message_start", "message.usage"),
        ("message_start", "message.usage.input_tokens"),
        ("message_start", "message.usage.output_tokens"),
        ("content_block_start", "index"),
        ("content_block_start", "content_block.type"),
        ("content_block_delta", "index"),
        ("content_block_delta", "delta"),
        ("content_block_delta", "delta.thinking"),
        ("content_block_stop", "index"),
        ("message_delta", "delta"),
        ("message_delta", "usage"),
        ("message_delta", "usage.output_tokens"),
    ],
)
def test_an_event_without_a_required_field_is_none(kind: str, path: str) -> None:
    event = next(e for e in events("thinking_and_tools.sse") if e["type"] == kind)
    check_event(event)
    with pytest.raises(pydantic.ValidationError):
        check_event(without(event, path))


@pytest.mark.parametrize(
    "path", ["id", "content", "usage", "usage.input_tokens", "content.0.signature", "content.2.input"]
)
def test_a_message_without_a_required_field_is_none(path: str) -> None:
    message = orjson.loads((HERE / "message.json").read_bytes())
    with pytest.raises(pydantic.ValidationError):
        check_message(without(message, path))


def test_an_error_without_its_error_is_none() -> None:
    with pytest.raises(pydantic.ValidationError):
        check_error(without(orjson.loads((HERE / "error_api.json").read_bytes()), "error"))


@pytest.mark.parametrize("path", ["model", "max_tokens", "messages", "messages.0.content.0.text", "stream"])
def test_a_request_without_a_required_field_is_none(path: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        check_request(without(body(prompt="x"), path))


def test_a_request_with_a_field_that_the_vendor_doesn_t_know_is_none() -> None:
    sent = body(prompt="x")
    sent["messages"][0]["content"][0]["colour"] = "red"
    with pytest.raises(AssertionError, match="knows every field"):
        check_request(sent)
