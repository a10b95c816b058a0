"""The provider of `kind: dummy`: answers in process, always the same, after a latency, with faults by share.

It speaks the same streamed wire form as a real one, so that everything but the socket is exercised. The fault
of a call depends on its attempt header alone: the same call fails always, its next try may not.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson

from processors.providers.base import ATTEMPT_HEADER, HttpRequest
from processors.providers.call import Answer
from schemas.config import DummyBehaviour

_WORDS = ("brook", "weir", "gate", "channel", "basin", "spillway", "current", "level")


def _event(**fields: Any) -> bytes:
    return b"data: " + orjson.dumps({"id": "dummy", "model": "dummy", **fields}) + b"\n\n"


def _delta(text: str) -> bytes:
    return _event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": None}])


class _DummyAnswer:
    def __init__(self, status: int, headers: dict[str, str], pieces: list[bytes]) -> None:
        self.status, self.headers = status, headers
        self._pieces = iter(pieces)

    async def read(self) -> bytes:
        return next(self._pieces, b"")


class DummyTransport:
    """Stands where HTTP would; `sleep` is injected so that tests need not wait."""

    def __init__(
        self, behaviour: DummyBehaviour, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        self._behaviour, self._sleep = behaviour, sleep

    @asynccontextmanager
    async def open(self, request: HttpRequest) -> AsyncIterator[Answer]:
        await self._sleep(self._behaviour.latency_ms / 1000)
        yield self._answer(request)

    def _answer(self, request: HttpRequest) -> _DummyAnswer:
        seed = zlib.crc32(request.headers.get(ATTEMPT_HEADER, "").encode())
        share, wants = seed / 2**32, self._behaviour
        if share < wants.fail_share:
            return _refusal(500, {})
        share -= wants.fail_share
        if share < wants.rate_limit_share:
            return _refusal(429, {"retry-after": "0.05"})
        share -= wants.rate_limit_share
        pieces = self._pieces(request)
        if 0 <= share < wants.truncate_share:
            pieces = pieces[: len(pieces) // 2]
        return _DummyAnswer(200, {"content-type": "text/event-stream"}, pieces)

    def _pieces(self, request: HttpRequest) -> list[bytes]:
        body = orjson.loads(request.body)
        seed = zlib.crc32(orjson.dumps(body["messages"]))
        words = [_WORDS[(seed + i * 7) % len(_WORDS)] for i in range(self._behaviour.chunks)]
        whole = " ".join(words)
        if "response_format" in body:
            texts = [orjson.dumps({"answer": whole}).decode()]
        else:
            texts = [word + " " for word in words[:-1]] + words[-1:]
        usage = {"prompt_tokens": len(request.body) // 4, "completion_tokens": len(words)}
        last = _event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}], usage=usage)
        return [*map(_delta, texts), last, b"data: [DONE]\n\n"]


def _refusal(status: int, headers: dict[str, str]) -> _DummyAnswer:
    body = orjson.dumps({"error": {"message": f"injected {status}", "code": None}})
    return _DummyAnswer(status, {"content-type": "application/json", **headers}, [body])
