"""The deltas of an attempt: in order, numbered, gathered, ended; and never in the way of the call."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from processors.providers.base import Delta
from schemas.config import Config
from schemas.records import DeltaEvent, Outcome, RequestEvent, Timings
from streams.services.call import deltas as deltas_module
from streams.services.call.deltas import Deltas, DeltaStream
from tests.fakes.call_bench import CONFIG, call_task


class Topic:
    """Takes events as a reply topic does, once `gate` is open; `problem` is what it raises instead."""

    def __init__(self) -> None:
        self.events: list[DeltaEvent] = []
        self.problem: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    def now_ms(self) -> int:
        return 5

    async def send(self, topic: str, events: list[DeltaEvent]) -> None:
        assert topic == "replies"
        await self.gate.wait()
        if self.problem is not None:
            raise self.problem
        self.events += events

    def told(self) -> list[tuple[int, str, str]]:
        return [(event.sequence, event.kind, event.text) for event in self.events]


def stream(topic: Any) -> DeltaStream:
    return DeltaStream(topic, call_task(), "replies")


def outcome(status: str = "succeeded") -> Outcome:
    return Outcome(
        event_id="e", request_id="r", tenant="t", attempt=1, attempt_id="a", tries=1, model="m", status=status,
        config_version="v", timings=Timings(accepted_at=0), finish_reason="stop",
    )  # fmt: skip


def text(*texts: str) -> list[Delta]:
    return [Delta("text", each) for each in texts]


async def test_pieces_come_in_order_numbered_and_end_with_a_marker() -> None:
    topic = Topic()
    deltas = stream(topic)
    deltas.take(text("a"))
    while not topic.events:
        await asyncio.sleep(0)
    deltas.take(text("b"))
    deltas.take([*text("c", "d"), Delta("thinking", "hm"), *text("e")])
    await deltas.end(outcome())
    assert topic.told() == [
        (0, "text", "a"),
        (1, "text", "bcd"),
        (2, "thinking", "hm"),
        (3, "text", "e"),
        (4, "end", ""),
    ]
    end = topic.events[-1]
    assert (end.status, end.finish_reason, end.complete) == ("succeeded", "stop", True)
    assert {(e.request_id, e.tenant, e.attempt, e.attempt_id, e.model, e.at) for e in topic.events} == {
        ("r", "t", 1, "a", "m", 5)
    }


async def test_pieces_of_several_tool_calls_are_told_apart() -> None:
    topic = Topic()
    deltas = stream(topic)
    deltas.take([Delta("tool_call", "{", 0), Delta("tool_call", "}", 0), Delta("tool_call", "{}", 1)])
    await deltas.end(outcome())
    assert [(e.index, e.text) for e in topic.events] == [(0, "{}"), (1, "{}"), (0, "")]


async def test_an_attempt_without_output_leaves_no_marker() -> None:
    topic = Topic()
    deltas = stream(topic)
    deltas.take([Delta("tool_call", "")])
    await deltas.end(outcome("failed"))
    assert topic.events == []


async def test_a_topic_that_stands_still_costs_the_call_a_moment_and_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deltas_module, "_END_WAITS_S", 0.05)
    monkeypatch.setattr(deltas_module, "_MOST_WAITING", 10)
    topic = Topic()
    topic.gate.clear()
    deltas = stream(topic)
    deltas.take(text("12345"))
    await asyncio.sleep(0)
    for _ in range(1000):
        deltas.take(text("123456"))
    assert deltas._size <= 10
    async with asyncio.timeout(5):
        await deltas.end(outcome())
    topic.gate.set()
    await asyncio.sleep(0.05)
    assert topic.events == [], "what is late is let go"


async def test_what_was_left_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deltas_module, "_MOST_WAITING", 10)
    topic = Topic()
    deltas = stream(topic)
    deltas.take(text("12345"))
    deltas.take(text("123456"))
    await deltas.end(outcome())
    assert topic.told() == [(0, "text", "12345"), (1, "end", "")] and not topic.events[-1].complete


@pytest.mark.parametrize(
    "problem",
    [KafkaError("no right to write"), ValueError("a lone surrogate"), LookupError("no such schema")],
)
async def test_what_can_t_be_written_ends_the_deltas_and_nothing_else(problem: Exception) -> None:
    topic = Topic()
    topic.problem = problem
    deltas = stream(topic)
    deltas.take(text("a"))
    await asyncio.sleep(0)
    deltas.take(text("b"))
    await deltas.end(outcome())
    assert topic.events == [] and not deltas._complete


@pytest.mark.parametrize(
    ("asked", "topics", "streams"),
    [
        ({"stream_deltas": True, "reply_topic": "replies"}, ["replies"], True),
        ({"reply_topic": "replies"}, ["replies"], False),
        ({"stream_deltas": True}, ["replies"], False),
        ({"stream_deltas": True, "reply_topic": "others"}, ["replies"], False),
        ({"stream_deltas": True, "reply_topic": "llm.results"}, ["replies"], False),
    ],
)
async def test_only_what_was_asked_for_goes_only_where_the_tenant_may_write(
    asked: dict[str, Any], topics: list[str], streams: bool
) -> None:
    values = CONFIG.model_dump(mode="json")
    values["tenants"]["t"] = {"reply_topics": topics}
    deltas = Deltas("nowhere:1", Any, lambda: 0)  # type: ignore[arg-type]
    task = call_task(request=RequestEvent(id="r", prompt="q", **asked))
    assert (deltas.stream(task, Config.model_validate(values)) is not None) == streams
