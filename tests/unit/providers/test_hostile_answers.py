"""Whatever a provider answers is that call's failure: it never ends the worker, and what was used is told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from processors.providers.base import HttpRequest, ProviderFailure
from processors.providers.call import Answer, Order, call
from processors.providers.openai.adapter import OpenAiAdapter
from processors.providers.watch import Watch
from schemas.config import Model, Timeouts
from schemas.records import CallTask, RequestEvent

TASK = CallTask(
    request_id="r", tenant="t", attempt=1, attempt_id="a", model="m", lane="standard", task_type="chat",
    accepted_at=0, deadline_at=1, issued_at=0, config_version="v", route_partition=0,
    input_tokens_estimate=7, max_output_tokens=9, request=RequestEvent(id="r", prompt="x"),
)  # fmt: skip
GOOD = b'data: {"choices":[{"index":0,"delta":{"content":"good"}}]}\n\n'


class Given:
    """An answer, and the transport that brings it."""

    def __init__(self, status: int, *pieces: bytes, **headers: str) -> None:
        self.status, self._pieces = status, list(pieces)
        self.headers = {
            "content-type": "text/event-stream",
            **{k.replace("_", "-"): v for k, v in headers.items()},
        }

    async def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    @asynccontextmanager
    async def open(self, request: HttpRequest) -> AsyncIterator[Answer]:
        yield self


async def failure_of(answer: Given, most: int = 1 << 20) -> ProviderFailure:
    adapter = OpenAiAdapter()
    request = adapter.encode(TASK, Model.model_validate({"provider": "p", "vendor_model": "v"}))
    watch = Watch(Timeouts.model_validate({}))
    with pytest.raises(ProviderFailure) as failed:
        await call(Order(TASK, request, adapter, answer, watch, most, now_ms=lambda: 0))
    return failed.value


def event(value: bytes) -> bytes:
    return b"data: " + value + b"\n\n"


@pytest.mark.parametrize(
    "hostile",
    [
        event(b'{"id":"\xff"}'),
        event(b'{"choices":[{"delta":{"content":"caf\xe9"}}]}'),
        event(b'{"choices":[{"delta":{"tool_calls":[{"id":"\xe9"}]}}]}'),
        event(b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        event(b'{"error":"caf\xe9"}'),
    ],
    ids=["id", "content", "tool call", "nesting", "error"],
)
async def test_a_stream_that_can_t_be_digested(hostile: bytes) -> None:
    problem = await failure_of(Given(200, GOOD, hostile))
    assert (problem.error.error_class, problem.error.maybe_paid, problem.error.retriable) == (
        "provider_error", True, True
    )  # fmt: skip
    assert not problem.repeatable and problem.usage is not None, "it may be paid: what was used is told"
    assert problem.usage.estimated and (problem.usage.input_uncached, problem.usage.output) == (7, 1)


async def test_a_whole_answer_that_can_t_be_digested() -> None:
    problem = await failure_of(Given(200, b'{"id":"\xff"}', content_type="application/json"))
    assert problem.error.error_class == "provider_error" and problem.usage is not None


@pytest.mark.parametrize("date", ["Wed, 21 Oct 2015 07:28:00 +99999999999999999999", "soon"])
async def test_an_error_keeps_its_class_whatever_its_body_and_headers(date: str) -> None:
    problem = await failure_of(Given(429, '{"error":"zu spät"}'.encode("latin-1"), retry_after=date))
    assert (problem.error.error_class, problem.error.maybe_paid) == ("rate_limited", False)
    assert problem.repeatable and problem.error.retry_after_ms is None


@pytest.mark.parametrize(
    "usage",
    [
        '{"prompt_tokens":1000000000000000}',
        '{"prompt_tokens":-5,"completion_tokens":5}',
        '{"prompt_tokens":"\\ud800"}',
    ],
)
async def test_usage_that_can_t_be_true_is_estimated_and_kept(usage: str) -> None:
    usage_event = event(b'{"choices":[],"usage":' + usage.encode() + b"}")
    problem = await failure_of(Given(200, GOOD, usage_event))
    assert problem.error.error_class in ("truncated", "provider_error") and problem.usage is not None
    assert problem.usage.estimated and problem.usage.input_uncached == 7


async def test_a_whole_answer_is_bounded_by_what_it_holds() -> None:
    """Tool calls take more in an outcome than in the answer: the size is looked at again at the end."""
    calls = [{"index": i, "id": "", "function": {"name": "", "arguments": ""}} for i in range(1000)]
    message = {"message": {"tool_calls": calls}, "finish_reason": "tool_calls"}
    body = orjson.dumps({"choices": [message]})
    slim = body.replace(b'"function":{"name":"","arguments":""}', b'"x":1').replace(b'"id":"",', b"")
    problem = await failure_of(Given(200, slim, content_type="application/json"), most=len(slim))
    assert problem.error.error_class == "result_too_large" and not problem.error.retriable
    assert problem.error.maybe_paid and problem.usage is not None


async def test_a_stream_of_tool_calls_is_bounded_by_ids_and_names() -> None:
    pieces = [
        event(orjson.dumps({"choices": [{"delta": {"tool_calls": [{"index": i, "id": "i" * 250}]}}]}))
        for i in range(100)
    ]
    problem = await failure_of(Given(200, *pieces), most=20_000)
    assert problem.error.error_class == "result_too_large"
