"""What encoding a call and decoding its answer costs, beside the vendor's own SDK. `make bench NAME=providers`.

No network and no broker: bytes in, records out, on one core. The codec figure is the median of encoding a chat of
2 KB and decoding its streamed answer of 2 KB. The stream is of events of about 200 bytes, each read alone, as they
come from a model, and decoded into deltas and a completion; the SDK parses the same bytes in the same run. The last
line is JSON: `codec_p50_us`, `sse_mb_per_s`, `sse_events_per_s`, `ratio_to_sdk` (events a second, ours to theirs).
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

import httpx2
import orjson
from openai import OpenAI, Stream
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent

from processors.providers.openai.adapter import OpenAiAdapter
from processors.providers.openai.responses import ResponsesAdapter
from schemas.config import Model, Provider
from schemas.records import CallTask, ContentPart, Message, Parameters, RequestEvent

ROUNDS = 7
READ = 16 * 1024
MODEL = Model.model_validate({"provider": "p", "vendor_model": "gpt-5.6-mini"})
CHAT = OpenAiAdapter(Provider.model_validate({"kind": "openai", "api_key": "env:K"}))
RESPONSES = ResponsesAdapter()
HEAD = {"id": "chatcmpl-CCfoX7vGk3iYLQ1RSPdJqY3Hf2aBc", "object": "chat.completion.chunk", "created": 1757499841,
        "model": "gpt-5.6-mini-2026-06-11"}  # fmt: skip
USAGE = {
    "prompt_tokens": 500,
    "completion_tokens": 300,
    "total_tokens": 800,
    "prompt_tokens_details": {"cached_tokens": 256},
    "completion_tokens_details": {"reasoning_tokens": 64},
}


def event(value: dict[str, Any], named: bool = False) -> bytes:
    name = b"event: " + value["type"].encode() + b"\n" if named else b""
    return name + b"data: " + orjson.dumps(value) + b"\n\n"


def chat_events(count: int) -> list[bytes]:
    """A streamed chat completion of `count` pieces."""
    pieces = [
        {"index": 0, "delta": {"content": f" word{n % 10}"}, "finish_reason": None} for n in range(count)
    ]
    end = {"index": 0, "delta": {}, "finish_reason": "stop"}
    chunks = [{**HEAD, "choices": [choice]} for choice in [*pieces, end]]
    return [*map(event, chunks), event({**HEAD, "choices": [], "usage": USAGE}), b"data: [DONE]\n\n"]


def response_events(count: int) -> list[bytes]:
    """A streamed response of `count` pieces."""
    place = {"item_id": "msg_67c9fdcf37fc8190ba82116e33fb28c5", "output_index": 0, "content_index": 0}
    kind = "response.output_text.delta"
    pieces = [
        {"type": kind, **place, "delta": f" word{n % 10}", "logprobs": [], "sequence_number": n}
        for n in range(count)
    ]
    text = "".join(str(piece["delta"]) for piece in pieces)
    content = [{"type": "output_text", "text": text, "annotations": []}]
    item = {
        "id": place["item_id"],
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": content,
    }
    usage = {"input_tokens": 500, "output_tokens": 300, "total_tokens": 800}
    usage |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    response = {
        "id": "resp_1",
        "object": "response",
        "model": "gpt-5.6",
        "status": "completed",
        "output": [item],
    }
    ends = [{"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": {**response, "usage": usage}}]  # fmt: skip
    return [event(piece, named=True) for piece in [*pieces, *ends]]


def chat(size: int) -> CallTask:
    """A task whose messages are of `size` bytes: a system prompt, a few turns, parameters."""
    line = "The quick brown fox jumps over the lazy dog. "
    turns = [(line * (size // 6 // len(line)), role) for role in ("user", "assistant") * 2]
    messages = [Message(role=role, content=[ContentPart(type="text", text=text)]) for text, role in turns]
    request = RequestEvent(
        id="r", tenant="t", system=line * (size // 6 // len(line)), messages=messages,
        prompt=line * (size // 6 // len(line)), parameters=Parameters(temperature=0.2, max_tokens=256),
    )  # fmt: skip
    return CallTask(
        request_id="r", tenant="t", attempt=1, attempt_id="a", model="m", lane="standard", task_type="chat",
        accepted_at=0, deadline_at=1, issued_at=0, config_version="v", route_partition=0,
        input_tokens_estimate=500, max_output_tokens=256, request=request,
    )  # fmt: skip


def codec(task: CallTask, answer: list[bytes], repeats: int) -> tuple[float, int]:
    """(median of encode and decode in microseconds, bytes of the request's body)."""
    spans = []
    for _ in range(repeats):
        began = time.perf_counter_ns()
        request = CHAT.encode(task, MODEL)
        decoder = CHAT.decoder("text/event-stream")
        for data in answer:
            decoder.feed(data)
        told = decoder.finish()
        spans.append(time.perf_counter_ns() - began)
        assert told.finish_reason == "stop" and told.usage is not None
    return median(spans) / 1000, len(request.body)


def ours(adapter: Any, reads: list[bytes]) -> str:
    """The text of a stream, by our decoder."""
    decoder = adapter.decoder("text/event-stream")
    pieces = [delta.text for data in reads for delta in decoder.feed(data)]
    assert decoder.finish().usage is not None
    return "".join(pieces)


def theirs(cast_to: Any, reads: list[bytes]) -> str:
    """The text of a stream, by the vendor's SDK."""

    def body() -> Iterator[bytes]:
        yield from reads

    response = httpx2.Response(200, content=body(), request=httpx2.Request("POST", "http://x"))
    pieces = []
    for seen in Stream(cast_to=cast_to, response=response, client=OpenAI(api_key="none")):
        if cast_to is ChatCompletionChunk:
            pieces += [choice.delta.content for choice in seen.choices if choice.delta.content]
        elif seen.type == "response.output_text.delta":
            pieces.append(seen.delta)
    return "".join(pieces)


def seconds(run: Callable[[], str]) -> tuple[float, str]:
    """The best of a few rounds, as others may use the machine; and what the run gave."""
    spans, told = [], ""
    for _ in range(ROUNDS):
        began = time.perf_counter()
        told = run()
        spans.append(time.perf_counter() - began)
    return min(spans), told


def stream(name: str, adapter: Any, cast_to: Any, events: list[bytes]) -> dict[str, float]:
    """Events a second of one wire: one event a read, 16 KiB a read, and the SDK's with one event a read."""
    whole = b"".join(events)
    blocks = [whole[n : n + READ] for n in range(0, len(whole), READ)]
    alone, text = seconds(lambda: ours(adapter, events))
    joined, same = seconds(lambda: ours(adapter, blocks))
    sdk, parsed = seconds(lambda: theirs(cast_to, events))
    assert text == same == parsed and text, "all read the same text"
    count, size = len(events), len(whole) / len(events)
    print(
        f"{name}: {count / alone:,.0f} events/s of {size:.0f} bytes, one a read; {count / joined:,.0f} in reads of"
        f" 16 KiB; the SDK {count / sdk:,.0f}"
    )
    return {
        "sse_mb_per_s": len(whole) / alone / 1e6,
        "sse_events_per_s": count / alone,
        "ratio_to_sdk": sdk / alone,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench_providers", description="Measures the codecs of providers.")
    parser.add_argument("--events", type=int, default=20_000, help="events of a stream (20000)")
    parser.add_argument("--repeats", type=int, default=5_000, help="of the codec (5000)")
    args = parser.parse_args(arguments)
    answer = chat_events(7)
    p50, size = codec(chat(2048), answer, args.repeats)
    print(f"codec: {p50:.1f} us for a request of {size} bytes and an answer of {len(b''.join(answer))}")
    stream("responses", RESPONSES, ResponseStreamEvent, response_events(args.events))
    figures = {"codec_p50_us": p50, **stream("chat", CHAT, ChatCompletionChunk, chat_events(args.events))}
    print(json.dumps({name: round(value, 1) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
