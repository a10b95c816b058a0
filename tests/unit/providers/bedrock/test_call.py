"""A call over a socket: what is signed is what is sent, and an event stream is read as it comes."""

import asyncio
from collections.abc import Mapping

import aiohttp
import pytest

from processors.providers.base import HttpRequest, ProviderFailure
from processors.providers.bedrock.adapter import BedrockAdapter
from processors.providers.call import HttpTransport, Order, call
from processors.providers.watch import Watch
from schemas.config import Timeouts
from tests.unit.providers.bedrock.shapes import encoded, stream, task

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/vnd.amazon.eventstream\r\nconnection: close\r\n\r\n"


class Signer:
    """Remembers what it was asked to sign."""

    url = ""

    async def headers(self, request: HttpRequest, url: str) -> Mapping[str, str]:
        self.url = url
        return {"authorization": "signed"}


async def test_a_call_is_sent_as_it_was_signed() -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        data = HEAD + stream("reasoning_and_tools")
        for start in range(0, len(data), 100):
            writer.write(data[start : start + 100])
            await writer.drain()
        writer.close()

    signer, request = Signer(), encoded(prompt="x")
    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
        aiohttp.ClientSession(headers={"accept-encoding": "identity"}) as session,
    ):
        base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        order = Order(
            task=task(prompt="x"),
            request=request,
            adapter=BedrockAdapter(),
            transport=HttpTransport(session, base, {}, 2.0, signer),
            watch=Watch(Timeouts.model_validate({})),
            max_result_bytes=1 << 20,
            now_ms=lambda: 0,
        )
        answer = await call(order)
    assert heads[0].startswith(f"POST {request.path} HTTP/1.1\r\n".encode()) and "%3A" in request.path
    assert signer.url == base + request.path
    assert answer.finish_reason == "tool_call" and len(answer.parts) == 5


@pytest.mark.parametrize(
    ("status", "name", "error_class"),
    [
        (400, "ServiceQuotaExceededException", "rate_limited"),
        (400, "ValidationException", "invalid_request"),
        (429, "ModelNotReadyException:http://internal.amazon.com/coral/", "overloaded"),
        (429, "ThrottlingException", "rate_limited"),
    ],
)
async def test_an_error_is_known_by_the_name_in_its_header(status: int, name: str, error_class: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"message":"no"}'
        head = f"HTTP/1.1 {status} X\r\nx-amzn-ErrorType: {name}\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
        aiohttp.ClientSession() as session,
    ):
        base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        order = Order(
            task=task(prompt="x"),
            request=encoded(prompt="x"),
            adapter=BedrockAdapter(),
            transport=HttpTransport(session, base, {}, 2.0, Signer()),
            watch=Watch(Timeouts.model_validate({})),
            max_result_bytes=1 << 20,
            now_ms=lambda: 0,
        )
        with pytest.raises(ProviderFailure, match="no") as failed:
            await call(order)
    assert failed.value.error.error_class == error_class
