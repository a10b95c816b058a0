"""The fixtures hold what botocore's model of the service describes, so that what they prove is true of the vendor."""

import copy
from typing import Any

import orjson
import pytest
from botocore.eventstream import EventStream
from botocore.exceptions import EventStreamError
from botocore.parsers import EventStreamJSONParser

from processors.providers.base import HttpRequest
from tests.unit.providers.bedrock import shapes
from tests.unit.providers.bedrock.shapes import (
    HERE,
    Unlike,
    check_answer,
    check_event,
    check_request,
    encoded,
)

STREAMS = sorted(path.stem for path in HERE.glob("*.events"))


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
    for kind, payload in shapes.events(name):
        check_event(kind, orjson.loads(payload))


@pytest.mark.parametrize("name", STREAMS)
def test_the_frames_of_a_fixture_are_botocore_s(name: str) -> None:
    class Raw:
        def stream(self) -> list[bytes]:
            return [shapes.stream(name)]

    shape = shapes._operation("ConverseStream").output_shape.members["stream"]
    kinds = [kind for kind, _ in shapes.events(name)]
    read = iter(EventStream(Raw(), shape, EventStreamJSONParser(), "ConverseStream"))
    for kind in kinds:
        if kind.endswith("Exception"):
            with pytest.raises(EventStreamError, match=kind):
                next(read)
        else:
            assert next(iter(next(read))) == kind


def test_the_whole_answer() -> None:
    check_answer(orjson.loads((HERE / "converse.json").read_bytes()))


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("messageStart", "role"),
        ("contentBlockStart", "start"),
        ("contentBlockStart", "contentBlockIndex"),
        ("contentBlockStart", "start.toolUse.toolUseId"),
        ("contentBlockStart", "start.toolUse.name"),
        ("contentBlockDelta", "delta"),
        ("contentBlockDelta", "contentBlockIndex"),
        ("contentBlockStop", "contentBlockIndex"),
        ("messageStop", "stopReason"),
        ("metadata", "usage"),
        ("metadata", "metrics"),
        ("metadata", "usage.inputTokens"),
        ("metadata", "usage.totalTokens"),
        ("metadata", "usage.cacheDetails.0.ttl"),
    ],
)
def test_an_event_without_a_required_field_is_none(kind: str, path: str) -> None:
    found = next(payload for name, payload in shapes.events("reasoning_and_tools") if name == kind)
    event = orjson.loads(found)
    check_event(kind, event)
    with pytest.raises(Unlike, match=path.rpartition(".")[2]):
        check_event(kind, without(event, path))


@pytest.mark.parametrize(
    "path",
    [
        "output",
        "stopReason",
        "usage",
        "usage.outputTokens",
        "metrics",
        "output.message.content.3.toolUse.input",
    ],
)
def test_an_answer_without_a_required_field_is_none(path: str) -> None:
    answer = orjson.loads((HERE / "converse.json").read_bytes())
    with pytest.raises(Unlike, match=path.rpartition(".")[2]):
        check_answer(without(answer, path))


@pytest.mark.parametrize("path", ["messages.0.role", "messages.0.content"])
def test_a_request_without_a_required_field_is_none(path: str) -> None:
    good = encoded(prompt="x")
    check_request(good)
    bad = orjson.dumps(without(orjson.loads(good.body), path))
    with pytest.raises(Unlike):
        check_request(HttpRequest(good.method, good.path, good.headers, bad))


def test_a_request_with_a_field_that_the_vendor_doesn_t_know_is_none() -> None:
    good = encoded(prompt="x")
    bad = orjson.dumps({**orjson.loads(good.body), "colour": "red"})
    with pytest.raises(Unlike, match="colour"):
        check_request(HttpRequest(good.method, good.path, good.headers, bad))


def test_a_path_that_botocore_would_write_otherwise_is_none() -> None:
    good = encoded(prompt="x")
    with pytest.raises(Unlike):
        check_request(HttpRequest(good.method, good.path.replace("%3A", ":"), good.headers, good.body))
