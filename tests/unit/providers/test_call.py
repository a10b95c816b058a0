"""The I/O of a provider call, against a mock server on loopback and against servers that break."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from processors.providers.adapters import transport_of
from processors.providers.authorisers import Resolver
from processors.providers.base import ATTEMPT_HEADER, HttpRequest, ProviderFailure, told_or_estimated
from processors.providers.call import HttpTransport, Order, call
from processors.providers.openai.adapter import OpenAiAdapter
from processors.providers.sessions import Sessions
from processors.providers.watch import CallStopped, StopReason, Watch
from schemas.config import Model, Provider, Timeouts
from schemas.records import CallTask, RequestEvent, Usage
from tests.fakes.provider import State, serve

MODEL = Model.model_validate({"provider": "p", "vendor_model": "v"})


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


@pytest.fixture
async def server() -> AsyncIterator[tuple[State, int]]:
    state = State()
    running, port = await serve(state, 0)
    yield state, port
    running.close()


def order(
    session: aiohttp.ClientSession,
    url: str,
    prompt: str = "hello",
    end: tuple[float, StopReason] | None = None,
    connect_s: float = 2.0,
    **limits: Any,
) -> Order:
    task = CallTask(
        request_id="r", tenant="t", attempt=1, attempt_id="a", model="m", lane="standard", task_type="chat",
        accepted_at=0, deadline_at=1, issued_at=0, config_version="v", route_partition=0,
        input_tokens_estimate=7, max_output_tokens=9, request=RequestEvent(id="r", prompt=prompt),
    )  # fmt: skip
    adapter = OpenAiAdapter()
    request = adapter.encode(task, MODEL)
    request.headers[ATTEMPT_HEADER] = "a.1"
    timeouts = Timeouts.model_validate({k: v for k, v in limits.items() if k.endswith("_s")})
    return Order(
        task=task,
        request=request,
        adapter=adapter,
        transport=HttpTransport(session, url, {"authorization": "Bearer key"}, connect_s),
        watch=Watch(timeouts, *end) if end else Watch(timeouts),
        max_result_bytes=limits.get("max_result_bytes", 1 << 20),
        now_ms=lambda: 0,
    )


async def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < end, "not within 5 s"
        await asyncio.sleep(0.01)


def base(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1"


async def test_an_answer(session: aiohttp.ClientSession, server: tuple[State, int]) -> None:
    state, port = server
    seen: list[float] = []
    wanted = order(session, base(port) + "/", "[[spread:100]]")
    wanted.first_token = lambda: seen.append(time.monotonic())
    answer = await call(wanted)
    assert answer.parts[0].text == "x" * 240 and answer.finish_reason == "stop"
    assert len(seen) == 1 and time.monotonic() - seen[0] > 0.05, "told at the first token, once"
    assert state.by_attempt == {"a.1": 1}


async def test_connections_are_used_again(session: aiohttp.ClientSession, server: tuple[State, int]) -> None:
    state, port = server
    for _ in range(3):
        await call(order(session, base(port)))
    assert state.connections == 1


@pytest.mark.parametrize(("headers", "connections"), [({}, 1), ({"Connection": "close"}, 3)])
async def test_a_provider_s_header_can_ask_for_fresh_connections(
    server: tuple[State, int], headers: dict[str, str], connections: int
) -> None:
    """Some small local servers break a connection that is used again."""
    state, port = server
    provider = Provider.model_validate({"kind": "openai", "base_url": base(port), "headers": headers})
    async with Sessions.make() as sessions:
        for _ in range(3):
            wanted = order(sessions.kept, base(port))
            wanted.transport = transport_of(provider, None, sessions, Resolver(str, str))
            await call(wanted)
    assert state.connections == connections


@pytest.mark.parametrize(
    ("prompt", "limits", "error_class", "maybe_paid", "repeatable", "output"),
    [
        ("[[hang]]", {"first_token_s": 0.2}, "timeout_first_token", True, False, 0),
        ("[[hang:4]]", {"idle_s": 0.2}, "timeout_idle", True, False, 12),
        ("[[chunks:400]][[spread:4000]]", {"idle_s": 9, "total_s": 0.3}, "timeout_total", True, False, None),
        ("[[truncate:4]]", {}, "truncated", True, False, 12),
        ("[[cut:4]]", {}, "truncated", True, False, 12),
        ("[[refuse]]", {}, "connection", True, False, 0),
        ("[[error_event:4]]", {}, "provider_error", True, False, 12),
        ("[[status:500]]", {}, "provider_error", True, False, 0),
        ("[[status:400]]", {}, "invalid_request", False, False, None),
        ("[[status:429]][[retry_after:3]]", {}, "rate_limited", False, True, None),
        ("[[status:529]]", {}, "overloaded", False, True, None),
        ("[[size:1000]]", {"max_result_bytes": 9999}, "result_too_large", True, False, None),
    ],
)
async def test_failures(
    session: aiohttp.ClientSession,
    server: tuple[State, int],
    prompt: str,
    limits: dict[str, Any],
    error_class: str,
    maybe_paid: bool,
    repeatable: bool,
    output: int | None,
) -> None:
    state, port = server
    with pytest.raises(ProviderFailure) as failed:
        await call(order(session, base(port), prompt, **limits))
    problem = failed.value
    assert (problem.error.error_class, problem.error.maybe_paid, problem.repeatable) == (
        error_class, maybe_paid, repeatable
    )  # fmt: skip
    assert (problem.usage is not None) == maybe_paid, "what may be paid has its usage estimated"
    if problem.usage is not None:
        told = error_class == "result_too_large"  # here the vendor's own count came with the last bytes
        assert problem.usage.estimated != told and problem.usage.input_uncached == (4 if told else 7)
        assert output is None or problem.usage.output == output
    if "retry_after" in prompt:
        assert problem.error.retry_after_ms == 3000

    await until(lambda: not state.in_flight)


async def test_a_server_that_closes_before_answering_may_have_been_paid(
    session: aiohttp.ClientSession,
) -> None:
    """The request was sent: a library that calls this a connect failure must not make us pay twice."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    problem = await _broken(session, hang_up)
    assert problem.error.error_class == "connection"
    assert problem.error.maybe_paid and not problem.repeatable


async def test_a_server_that_talks_nonsense_may_have_been_paid(session: aiohttp.ClientSession) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0 hello\r\n\r\n")
        await writer.drain()
        writer.close()

    problem = await _broken(session, nonsense)
    assert problem.error.maybe_paid and not problem.repeatable


async def _broken(session: aiohttp.ClientSession, handler: Callable[..., Awaitable[None]]) -> ProviderFailure:
    async with await asyncio.start_server(handler, "127.0.0.1", 0) as running:
        port = running.sockets[0].getsockname()[1]
        with pytest.raises(ProviderFailure) as failed:
            await call(order(session, base(port)))
        return failed.value


async def test_what_fails_before_the_request_is_sent_can_t_be_paid(session: aiohttp.ClientSession) -> None:
    """Refused, name unknown, TLS broken, no connection in time: each may be tried again at once."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    async with await asyncio.start_server(lambda r, w: w.write(b"not tls"), "127.0.0.1", 0) as plain:
        no_tls = plain.sockets[0].getsockname()[1]
        urls = [base(closed), "http://no-such-host.invalid/v1", f"https://127.0.0.1:{no_tls}/v1"]
        for url in urls:
            with pytest.raises(ProviderFailure) as failed:
                await call(order(session, url))
            assert failed.value.error.error_class == "connection", url
            assert failed.value.repeatable and not failed.value.error.maybe_paid, url


async def test_a_connect_timeout_can_t_be_paid() -> None:
    class Slow(aiohttp.TCPConnector):
        async def _create_connection(self, *args: Any, **kwargs: Any) -> Any:
            raise aiohttp.ConnectionTimeoutError("no connection in time")

    async with aiohttp.ClientSession(connector=Slow()) as session:
        with pytest.raises(ProviderFailure) as failed:
            await call(order(session, base(9)))
    assert failed.value.repeatable and not failed.value.error.maybe_paid


async def test_a_certificate_that_doesn_t_hold_can_t_be_paid() -> None:
    class Bad(aiohttp.TCPConnector):
        async def _create_connection(self, req: Any, *args: Any, **kwargs: Any) -> Any:
            raise aiohttp.ClientConnectorCertificateError(req.connection_key, ssl.CertificateError("no"))

    async with aiohttp.ClientSession(connector=Bad()) as session:
        with pytest.raises(ProviderFailure) as failed:
            await call(order(session, base(9)))
    assert failed.value.repeatable


async def test_a_base_url_that_is_none() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ValueError, match="base_url 'http://host:bad'"):
            order(session, "http://host:bad")
        with pytest.raises(ProviderFailure) as failed:
            await call(order(session, "no-scheme"))
    assert not failed.value.error.maybe_paid and not failed.value.repeatable


@pytest.mark.parametrize("reason", ["cancelled", "drained"])
async def test_stopping_drops_the_stream_at_once(
    session: aiohttp.ClientSession, server: tuple[State, int], reason: StopReason
) -> None:
    state, port = server
    wanted = order(session, base(port), "[[hang:4]]")
    wanted.first_token = lambda: wanted.watch.stop(reason)
    with pytest.raises(CallStopped) as stopped:
        await call(wanted)
    assert stopped.value.reason == reason
    assert wanted.spent().output == 12 and wanted.spent().estimated
    await until(lambda: bool(state.dropped))


async def test_a_call_stopped_before_it_began_is_not_made(
    session: aiohttp.ClientSession, server: tuple[State, int]
) -> None:
    wanted = order(session, base(server[1]))
    wanted.watch.stop("cancelled")
    with pytest.raises(CallStopped):
        await call(wanted)
    assert server[0].total == 0


async def test_the_deadline_ends_the_call(session: aiohttp.ClientSession, server: tuple[State, int]) -> None:
    with pytest.raises(CallStopped) as stopped:
        await call(order(session, base(server[1]), "[[hang]]", end=(0.2, "deadline")))
    assert stopped.value.reason == "deadline"


async def test_a_server_that_stays_open_after_done_is_left(session: aiohttp.ClientSession) -> None:
    """The vendor said that the answer is whole: it isn't lost to an idle timeout."""

    async def linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        chunk = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + chunk)
        await writer.drain()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(linger, "127.0.0.1", 0) as running:
        began = time.monotonic()
        answer = await call(order(session, base(running.sockets[0].getsockname()[1]), idle_s=30))
    assert answer.parts[0].text == "hi" and time.monotonic() - began < 5


async def test_a_cancelled_task_stays_cancelled(
    session: aiohttp.ClientSession, server: tuple[State, int]
) -> None:
    task = asyncio.create_task(call(order(session, base(server[1]), "[[hang]]")))
    await until(lambda: bool(server[0].in_flight))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_dummy_is_deterministic_and_obeys_its_shares() -> None:
    from processors.providers.dummy import DummyTransport
    from schemas.config import DummyBehaviour

    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def ends(behaviour: dict[str, float], prompt: str = "q") -> list[str]:
        transport = DummyTransport(DummyBehaviour.model_validate(behaviour), sleep)
        out = []
        for number in range(200):
            request = HttpRequest("POST", "/", {ATTEMPT_HEADER: f"{number}.1"}, b"")
            wanted = order(None, "", prompt)  # type: ignore[arg-type]
            wanted.transport = transport
            wanted.request = HttpRequest("POST", "/", request.headers, wanted.request.body)
            try:
                out.append((await call(wanted)).parts[0].text or "")
            except ProviderFailure as problem:
                out.append(problem.error.error_class)
        return out

    plain = await ends({"chunks": 4, "latency_ms": 30})
    assert len(set(plain)) == 1 and len(plain[0].split()) == 4 and set(waits) == {0.03}
    assert set(await ends({}, "another")) != set(plain)
    faulty = {"fail_share": 0.2, "rate_limit_share": 0.2, "truncate_share": 0.2}
    seen = await ends(faulty)
    assert seen == await ends(faulty), "the same faults again"
    for kind in ("provider_error", "rate_limited", "truncated"):
        assert 15 <= seen.count(kind) <= 65


async def answering(head: bytes, then: bytes = b"", *, stay: bool = False) -> tuple[asyncio.Server, str]:
    """A server that gives one answer to everything; with `stay` the answer doesn't end."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + then)
        await writer.drain()
        if stay:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    return server, base(server.sockets[0].getsockname()[1])


async def test_a_redirect_is_followed_by_nobody_and_unpaid(session: aiohttp.ClientSession) -> None:
    head = b"HTTP/1.1 307 X\r\nlocation: https://elsewhere.example/v1\r\ncontent-length: 0\r\n\r\n"
    server, url = await answering(head)
    async with server:
        with pytest.raises(ProviderFailure, match=r"redirects to https://elsewhere\.example") as failed:
            await call(order(session, url))
    assert (failed.value.error.error_class, failed.value.error.maybe_paid) == ("connection", False)
    assert not failed.value.repeatable and failed.value.usage is None


async def test_an_error_keeps_its_meaning_though_its_body_stalls(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processors.providers.call._ERROR_BODY_S", 0.1)
    head = b"HTTP/1.1 429 X\r\nretry-after: 3\r\ncontent-length: 100\r\n\r\n"
    server, url = await answering(head, b'{"error"', stay=True)
    async with server:
        with pytest.raises(ProviderFailure) as failed:
            await call(order(session, url, first_token_s=5))
    error = failed.value.error
    assert (error.error_class, error.retry_after_ms, error.maybe_paid) == ("rate_limited", 3000, False)


async def test_a_web_page_is_told_as_one(session: aiohttp.ClientSession) -> None:
    head = b"HTTP/1.1 200 X\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: 6\r\n\r\n"
    server, url = await answering(head, b"<html>")
    async with server:
        with pytest.raises(ProviderFailure, match="a web page") as failed:
            await call(order(session, url))
    assert failed.value.error.error_class == "provider_error" and failed.value.usage is not None


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, (7, 3)),
        ({"input_uncached": 90}, (90, 3)),
        ({"input_uncached": 90, "reasoning": 20}, (90, 20)),
        ({"output": 5, "cache_read": 4}, (3, 5)),
        ({"cache_read": 400}, (0, 3)),
    ],
)
async def test_what_the_vendor_told_is_kept_beside_an_estimate(
    session: aiohttp.ClientSession, told: dict[str, int], expected: tuple[int, int]
) -> None:
    task = order(session, "http://127.0.0.1:1").task
    usage = told_or_estimated(Usage(**told, raw="{}"), task, 12)
    assert (usage.input_uncached, usage.output) == expected and usage.estimated and usage.raw == "{}"
    assert (usage.cache_read, usage.reasoning) == (told.get("cache_read"), told.get("reasoning"))


@pytest.mark.parametrize("finish", [b'"finish_reason":"stop"', b'"finish_reason":null'], ids=["whole", "cut"])
async def test_the_tier_that_served_may_be_told_in_the_head(
    session: aiohttp.ClientSession, finish: bytes
) -> None:
    chunk = (
        b'data: {"choices":[{"index":0,"delta":{"content":"x"},'
        + finish
        + b'}],"usage":{"prompt_tokens":1}}\n\n'
    )
    head = b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\nx-gemini-service-tier: Standard\r\n"
    server, url = await answering(head + b"content-length: %d\r\n\r\n" % len(chunk), chunk)
    async with server:
        try:
            usage = (await call(order(session, url))).usage
        except ProviderFailure as failed:
            usage = failed.usage
    assert usage is not None and usage.service_tier == "standard"
