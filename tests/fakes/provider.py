"""A mock of an OpenAI-compatible server as its own process: streams replies, injects faults, counts calls.

    python -m tests.fakes.provider --port 0 --latency-ms 50 --chunks 20

It prints `listening PORT` once it serves. Its count is the judge of "paid": `GET /counts` answers
`{"total", "in_flight", "most_in_flight", "finished", "dropped", "connections", "by_attempt", "by_prompt"}`, where
by_attempt maps the attempt header of a call to how often it came.

A prompt steers its own call by directives:
    [[latency:MS]]    time to the first token           [[chunks:N]] [[spread:MS]]  chunks, spread over MS
    [[size:BYTES]]    bytes of text a chunk             [[hang]] [[hang:N]]         stop after N chunks (0)
    [[status:CODE]]   answer with an error status       [[retry_after:SECONDS]]     its Retry-After header
    [[times:N]]       only the first N calls of this prompt are faulty
    [[truncate:N]]    end the stream after N chunks     [[cut:N]]                   break the connection there
    [[error_event:N]] an error event after N chunks     [[refuse]]                  close before any answer
    [[no_usage]] [[no_done]] [[tool]] [[plain]]         leave out usage, [DONE]; call a tool; no stream

It speaks HTTP/1.1 on asyncio's protocols: a web framework would cost more CPU than the worker under test.
"""

import argparse
import asyncio
import re
import signal
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson
import uvloop

_DIRECTIVE = re.compile(r"\[\[(\w+)(?::([\d.]+))?\]\]")
_FAULTS = ("status", "hang", "truncate", "cut", "error_event", "refuse")
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@dataclass
class State:
    """Defaults and counts of one server."""

    latency_ms: float = 0
    chunks: int = 20
    spread_ms: float = 0
    size: int = 12
    total: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    finished: int = 0
    dropped: int = 0
    connections: int = 0
    by_attempt: Counter[str] = field(default_factory=Counter)
    by_prompt: Counter[str] = field(default_factory=Counter)

    def counts(self) -> dict[str, Any]:
        return {
            "total": self.total,
            "in_flight": self.in_flight,
            "most_in_flight": self.most_in_flight,
            "finished": self.finished,
            "dropped": self.dropped,
            "connections": self.connections,
            "by_attempt": dict(self.by_attempt),
            "by_prompt": dict(self.by_prompt),
        }


def _prompt(body: dict[str, Any]) -> str:
    content = body["messages"][-1].get("content") or ""
    return content if isinstance(content, str) else orjson.dumps(content).decode()


def _directives(prompt: str) -> dict[str, float]:
    return {m[1]: float(m[2] or 0) for m in _DIRECTIVE.finditer(prompt)} if "[[" in prompt else {}


def _event(body: dict[str, Any], **delta: Any) -> bytes:
    finish = delta.pop("finish_reason", None)
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "resp-1", "object": "chat.completion.chunk", "model": body["model"]}
    return _sse({**head, "choices": [choice]})


def _sse(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def _usage(prompt: str, chunks: int) -> dict[str, Any]:
    details = {"cached_tokens": 0}
    sizes = {"prompt_tokens": len(prompt) // 4 + 1, "completion_tokens": chunks}
    return {**sizes, "total_tokens": sum(sizes.values()), "prompt_tokens_details": details}


class Call:
    """One call being answered: a chain of timers, so that 10,000 of them cost little."""

    def __init__(self, server: "Connection", body: dict[str, Any]) -> None:
        self.server, self.body, self.prompt = server, body, _prompt(body)
        state = server.state
        self.wants = wants = _directives(self.prompt)
        state.by_prompt[self.prompt] += 1
        if "times" in wants and state.by_prompt[self.prompt] > wants["times"]:
            for fault in _FAULTS:
                wants.pop(fault, None)
        self.chunks = int(wants.get("chunks", state.chunks))
        self.text = "x" * int(wants.get("size", state.size))
        self.pause = wants.get("spread", state.spread_ms) / 1000 / self.chunks
        self.sent, self.timer = 0, None
        self.later(wants.get("latency", state.latency_ms) / 1000, self.begin)

    def later(self, seconds: float, then: Any) -> None:
        self.timer = self.server.loop.call_later(seconds, then)

    def begin(self) -> None:
        if "refuse" in self.wants:
            self.server.drop()
        elif "status" in self.wants:
            self.refuse(int(self.wants["status"]))
        elif self.wants.get("hang") == 0:
            return
        elif "plain" in self.wants or not self.body.get("stream"):
            self.answer_whole()
        else:
            self.server.write(_HEAD)
            self.step()

    def refuse(self, status: int) -> None:
        wait = self.wants.get("retry_after")
        headers = f"retry-after: {wait:g}\r\n" if wait is not None else ""
        error = {"message": f"injected {status}", "type": "injected", "code": str(status)}
        self.server.respond(status, {"error": error}, headers)
        self.server.end()

    def answer_whole(self) -> None:
        message = {"role": "assistant", "content": self.text * self.chunks}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = _usage(self.prompt, self.chunks)
        head = {"id": "resp-1", "model": self.body["model"]}
        self.server.respond(200, {**head, "choices": [choice], "usage": usage})
        self.server.end()

    def step(self) -> None:
        if self.fault_here():
            return
        out = []
        while self.sent < self.chunks:
            out.append(_event(self.body, content=self.text))
            self.sent += 1
            if self.pause or self.stops_at() == self.sent:
                self.server.chunk(b"".join(out))
                self.later(self.pause, self.step)
                return
        self.server.chunk(b"".join(out))
        self.finish()

    def stops_at(self) -> int | None:
        places = [int(v) for k, v in self.wants.items() if k in ("hang", "truncate", "cut", "error_event")]
        return min(places, default=None)

    def fault_here(self) -> bool:
        wants, sent = self.wants, self.sent
        if wants.get("hang") == sent:
            return True
        if wants.get("truncate") == sent:
            self.server.chunk(b"", last=True)
            self.server.end()
            return True
        if wants.get("cut") == sent:
            self.server.drop()
            return True
        if wants.get("error_event") == sent:
            self.server.chunk(_sse({"error": {"message": "injected", "type": "server_error", "code": None}}))
            self.server.chunk(b"", last=True)
            self.server.end()
            return True
        return False

    def finish(self) -> None:
        out = []
        if "tool" in self.wants:
            function = {"name": "look", "arguments": '{"a"'}
            call = {"index": 0, "id": "call-1", "type": "function", "function": function}
            out.append(_event(self.body, tool_calls=[call]))
            out.append(_event(self.body, tool_calls=[{"index": 0, "function": {"arguments": ":1}"}}]))
        out.append(_event(self.body, finish_reason="tool_calls" if "tool" in self.wants else "stop"))
        if "no_usage" not in self.wants:
            out.append(_sse({"id": "resp-1", "choices": [], "usage": _usage(self.prompt, self.chunks)}))
        if "no_done" not in self.wants:
            out.append(b"data: [DONE]\n\n")
        self.server.chunk(b"".join(out), last=True)
        self.server.state.finished += 1
        self.server.end()


class Connection(asyncio.Protocol):
    """One client connection; keeps alive between calls."""

    def __init__(self, state: State) -> None:
        self.state, self.loop = state, asyncio.get_running_loop()
        self.buffer, self.call = bytearray(), None
        self.last = False
        self.transport: asyncio.Transport = None  # type: ignore[assignment]

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.state.connections += 1

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].decode("latin-1")
            lines = head.split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
            size = int(headers.get("content-length", "0"))
            if len(self.buffer) < end + 4 + size:
                return
            self.last = headers.get("connection", "").lower() == "close"
            body = bytes(self.buffer[end + 4 : end + 4 + size])
            del self.buffer[: end + 4 + size]
            self.handle(lines[0].split(" "), headers, body)

    def handle(self, request: list[str], headers: dict[str, str], body: bytes) -> None:
        if request[0] == "GET" and request[1].startswith("/counts"):
            self.respond(200, self.state.counts())
        elif request[0] == "POST" and request[1].endswith("/chat/completions"):
            state = self.state
            state.total += 1
            state.in_flight += 1
            state.most_in_flight = max(state.most_in_flight, state.in_flight)
            state.by_attempt[headers.get("x-sluice-attempt-id", "")] += 1
            self.call = Call(self, orjson.loads(body))
        else:
            self.respond(404, {"error": {"message": f"no {request[1]} here", "code": "not_found"}})

    def respond(self, status: int, value: dict[str, Any], headers: str = "") -> None:
        body = orjson.dumps(value)
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}"
        self.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    def chunk(self, data: bytes, last: bool = False) -> None:
        framed = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        self.write(framed + (b"0\r\n\r\n" if last else b""))

    def end(self) -> None:
        if self.call is not None:
            self.call = None
            self.state.in_flight -= 1
            if self.last:
                self.transport.close()

    def drop(self) -> None:
        self.end()
        self.transport.abort()

    def connection_lost(self, _error: Exception | None) -> None:
        if self.call is not None:
            if self.call.timer is not None:
                self.call.timer.cancel()
            self.state.dropped += 1
            self.end()


async def serve(state: State, port: int) -> tuple[asyncio.Server, int]:
    """Start a server on loopback; returns it and its port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(state), "127.0.0.1", port, backlog=16384)
    return server, server.sockets[0].getsockname()[1]


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=0)
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--spread-ms", type=float, default=0)
    args = parser.parse_args()
    state = State(latency_ms=args.latency_ms, chunks=args.chunks, spread_ms=args.spread_ms)
    server, port = await serve(state, args.port)
    print("listening", port, flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    uvloop.run(main())
