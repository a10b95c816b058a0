"""The one place of HTTP I/O to providers: open, stream, decode, stop.

What can't have been paid is told apart from what may have been by where it failed: before the request was
sent (name, connection, TLS) or after. The client is an injected `aiohttp.ClientSession`.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp
from yarl import URL

from processors.providers.auth import NOT_AUTHORISED, Authoriser, FixedHeaders
from processors.providers.base import (
    Adapter,
    Completion,
    Delta,
    HttpRequest,
    ProviderFailure,
    StreamDecoder,
    told_or_estimated,
)
from processors.providers.failures import failure, not_sent
from processors.providers.heads import served_tier, with_error_name
from processors.providers.redact import SECRETS
from processors.providers.waits import retry_after_ms
from processors.providers.watch import CallStopped, Watch
from schemas.records import CallTask, Usage

_ERROR_BODY = 64 * 1024
_ERROR_BODY_S = 2.0
_TIMEOUT_TEXT = {
    "timeout_first_token": "no first token in time",
    "timeout_idle": "the stream stood still for too long",
    "timeout_total": "the call took too long as a whole",
}
_log = logging.getLogger(__name__)


class Answer(Protocol):
    """An answer whose head has come. Header names are in lower case."""

    status: int
    headers: dict[str, str]

    async def read(self) -> bytes:
        """The next bytes of the body; empty at its end."""


class Transport(Protocol):
    """Moves one request to one provider."""

    def open(self, request: HttpRequest) -> AbstractAsyncContextManager[Answer]:
        """Send the request and wait for the answer's head; leaving the context drops what is unread."""


@dataclass(slots=True)
class Order:
    """A provider call: what to send, when to stop, how much to take.

    `accepted` is called when the provider begins to answer with success, `first_token` at it, once; `deltas` gets
    what came of the output, in order.
    """

    task: CallTask
    request: HttpRequest
    adapter: Adapter
    transport: Transport
    watch: Watch
    max_result_bytes: int
    now_ms: Callable[[], int]
    accepted: Callable[[], None] = lambda: None
    first_token: Callable[[], None] = lambda: None
    deltas: Callable[[list[Delta]], None] | None = None
    decoder: StreamDecoder | None = field(default=None)
    served_tier: str | None = None

    def spent(self) -> Usage:
        """What the call has used so far: as told by the vendor, else estimated and flagged."""
        if self.decoder is None:
            return told_or_estimated(None, self.task, 0)
        used = told_or_estimated(self.decoder.usage, self.task, self.decoder.output_bytes)
        self.tell_tier(used)
        return used

    def tell_tier(self, usage: Usage | None) -> None:
        """Put the service tier that the answer's head told into the usage, where its body told none."""
        if usage is not None and usage.service_tier is None:
            usage.service_tier = self.served_tier


async def call(order: Order) -> Completion:
    """Make the call. Raises ProviderFailure (with usage where it may be paid) or CallStopped."""
    try:
        completion = await _until_stopped(order)
        order.tell_tier(completion.usage)
        return completion
    except CallStopped:
        raise
    except ProviderFailure as problem:
        if problem.error.maybe_paid and problem.usage is None:
            problem.usage = order.spent()
        order.tell_tier(problem.usage)
        problem.error.message = SECRETS.clean(problem.error.message)
        raise
    except Exception as error:
        # The one place that meets hostile answers. Whatever decoding one stumbles over is that call's failure; it
        # must not end the worker, which would meet the same provider again after each restart.
        _log.warning("attempt %s: the answer can't be digested", order.task.attempt_id, exc_info=True)
        told = SECRETS.clean(f"{type(error).__name__}: {error}")
        indigestible = failure("provider_error", f"the answer can't be digested ({told})")
        indigestible.usage = order.spent()
        raise indigestible from error
    finally:
        order.watch.close()


async def _until_stopped(order: Order) -> Completion:
    try:
        async with asyncio.timeout(None) as scope:
            order.watch.start(scope)
            return await _exchange(order)
    except TimeoutError:
        return _stopped(order)


def _stopped(order: Order) -> Completion:
    reason = order.watch.reason
    assert reason is not None, "only the watch ends the scope"
    if order.decoder is not None and order.decoder.done:
        return _whole(order, order.decoder)
    text = _TIMEOUT_TEXT.get(reason)
    if text is None:
        raise CallStopped(reason) from None
    problem = failure(reason, text)
    problem.usage = order.spent()
    raise problem from None


def _whole(order: Order, decoder: StreamDecoder) -> Completion:
    """The answer, its size looked at once more: an answer that isn't streamed is taken apart only here."""
    completion = decoder.finish()
    _check_size(order, decoder)
    return completion


def _check_size(order: Order, decoder: StreamDecoder) -> None:
    if decoder.output_bytes > order.max_result_bytes:
        text = f"the result is longer than {order.max_result_bytes} bytes (limits.max_result_bytes)"
        raise failure("result_too_large", text, retriable=False)


async def _exchange(order: Order) -> Completion:
    async with order.transport.open(order.request) as answer:
        if 300 <= answer.status < 400:
            raise _redirected(answer)
        if not 200 <= answer.status < 300:
            body = with_error_name(await _error_body(answer), answer.headers)
            wait_ms = retry_after_ms(answer.headers, order.now_ms())
            raise order.adapter.failure(answer.status, wait_ms, SECRETS.clean_bytes(body))
        order.accepted()
        order.served_tier = served_tier(answer.headers)
        content_type = answer.headers.get("content-type", "")
        if content_type.startswith("text/html"):
            raise failure("provider_error", "the answer is a web page: correct providers.*.base_url")
        order.decoder = decoder = order.adapter.decoder(content_type)
        begun = False
        while data := await answer.read():
            deltas = decoder.feed(data)
            _check_size(order, decoder)
            if deltas or begun:
                order.watch.token()
                if not begun:
                    begun = True
                    order.first_token()
                if deltas and order.deltas is not None:
                    order.deltas(deltas)
            if decoder.done:
                order.watch.answered()
        return _whole(order, decoder)


def _redirected(answer: Answer) -> ProviderFailure:
    """Nobody follows: the request and its key would go to an address that nobody configured."""
    where = answer.headers.get("location", "another address")
    text = f"HTTP {answer.status}: the server redirects to {where}: correct providers.*.base_url"
    return failure("connection", text, maybe_paid=False)


async def _error_body(answer: Answer) -> bytes:
    """As much of an error's body as is told in time; a break or a stall here doesn't change what the status says."""
    body = b""
    try:
        async with asyncio.timeout(_ERROR_BODY_S):
            while len(body) < _ERROR_BODY and (data := await answer.read()):
                body += data
    except (ProviderFailure, TimeoutError):
        return body
    return body


class _HttpAnswer:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self._content = response.content

    async def read(self) -> bytes:
        try:
            return await self._content.readany()
        except aiohttp.ClientPayloadError as error:
            raise failure("truncated", f"the connection broke inside the answer: {error}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise failure("connection", f"the connection broke inside the answer: {error!r}") from error


class HttpTransport:
    """Calls below one base URL with the provider's own headers, each call authorised.

    Raises ValueError where the base URL is none.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        headers: Mapping[str, str],
        connect_timeout_s: float,
        authoriser: Authoriser = NOT_AUTHORISED,
    ) -> None:
        try:
            base = str(URL(base_url))
        except ValueError as error:
            raise ValueError(f"base_url {base_url!r} is not a URL: {error}") from error
        self._session, self._base, self._headers = session, base.rstrip("/"), dict(headers)
        self._authoriser: Authoriser | None = authoriser
        if isinstance(authoriser, FixedHeaders):
            self._headers, self._authoriser = {**authoriser.fixed, **headers}, None
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s)
        self._urls: dict[str, URL] = {}

    def open(self, request: HttpRequest) -> "_Exchange":
        return _Exchange(self, request)

    async def send(self, request: HttpRequest) -> aiohttp.ClientResponse:
        """The answer's head; the caller releases it. Raises ProviderFailure."""
        url = self._urls.get(request.path)
        if url is None:
            # Sent as the adapter wrote it: a signature covers each character of the path.
            url = self._urls[request.path] = URL(self._base + request.path, encoded=True)
        headers = {**self._headers, **request.headers}
        if self._authoriser is not None:
            headers.update(await self._authoriser.headers(request, str(url)))
        try:
            return await self._session.request(
                request.method,
                url,
                data=request.body,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise not_sent(f"no connection to the provider: {error}") from error
        except aiohttp.InvalidURL as error:
            raise failure("connection", f"providers.*.base_url: {error}", maybe_paid=False) from error
        except (aiohttp.ClientError, OSError) as error:
            raise failure("connection", f"the connection broke before an answer: {error!r}") from error


class _Exchange(AbstractAsyncContextManager[Answer]):
    """One request and its answer. A class, as a generator would cost a twentieth of a call's CPU."""

    __slots__ = ("_request", "_response", "_transport")

    def __init__(self, transport: HttpTransport, request: HttpRequest) -> None:
        self._transport, self._request = transport, request

    async def __aenter__(self) -> Answer:
        self._response = await self._transport.send(self._request)
        return _HttpAnswer(self._response)

    async def __aexit__(self, *_: object) -> None:
        self._response.release()
