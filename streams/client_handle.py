"""The handle of a submitted request, and what may be raised about it.

ClientError
 ├─ Conflict       the same id or idempotency key was used before with another body
 ├─ DeadLettered   the request could not become one: unknown tenant, undecodable, too old
 └─ ReadFailed     results can no longer be read; what was submitted goes on without the client
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Protocol

from schemas import ids
from schemas.records import DeadLetter, DeltaEvent, ResultEvent


class ClientError(Exception):
    """Base of what a handle may raise about its request."""


class Conflict(ClientError):
    """The same id or idempotency key was used before with another body."""


class ReadFailed(ClientError):
    """Results can't be read any more; the cause is chained."""


class DeadLettered(ClientError):
    """The request went to the dead letters; `letter` says why."""

    def __init__(self, letter: DeadLetter) -> None:
        super().__init__(f"{letter.reason}: {letter.message} (dead letter {letter.id})")
        self.letter = letter


class Canceller(Protocol):
    """What a handle needs of its client."""

    async def cancel(self, tenant: str, request_id: str, reason: str | None = None) -> None:
        """Ask for a request's end."""


class Handle:
    """One submitted (or attached) request and, in time, its result. Kept only as long as you keep it."""

    def __init__(self, client: Canceller, tenant: str, request_id: str, body: bytes | None) -> None:
        self.tenant = tenant
        self.request_id = request_id
        self._client = client
        self._body = body
        self._source: str | None = None
        self._conflicts: list[ResultEvent] = []
        self._ended = asyncio.Event()
        self._deltas: Pieces | None = None
        self._result: ResultEvent | None = None
        self._error: ClientError | None = None

    def done(self) -> bool:
        """True once `result` answers at once."""
        return self._ended.is_set()

    async def result(self, timeout: float | None = None) -> ResultEvent:  # noqa: ASYNC109
        """The terminal result, whatever its status; see `status`, `text`, `error_message`, `problems`.

        Raises TimeoutError after `timeout` seconds (the request goes on: ask again), or a ClientError.
        """
        async with asyncio.timeout(timeout):
            await self._ended.wait()
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    async def deltas(self) -> AsyncIterator[DeltaEvent]:
        """The output as it comes, of a request submitted with `stream_deltas` and a `reply_topic`.

        Yields pieces in order, each once. One with `sequence` 0 begins anew: what came before belongs to an attempt
        that was given up. Ends when the output is whole, or with the result; that is the truth, and deltas may lack
        something of it. Raises ValueError where no deltas were asked for. For one reader.
        """
        if self._deltas is None:
            raise ValueError("the request was not submitted with stream_deltas and a reply_topic")
        async for event in self._deltas.read():
            yield event

    async def cancel(self, reason: str | None = None) -> None:
        """Ask for the request's end; its result then has the status `cancelled`, unless another came first."""
        await self._client.cancel(self.tenant, self.request_id, reason)

    def _take_deltas(self) -> None:
        """From now on pieces are kept; a result that is there already leaves nothing to wait for."""
        self._deltas = Pieces()
        if self._ended.is_set():
            self._deltas.close()

    def _end(self, result: ResultEvent | None, error: ClientError | None = None) -> None:
        if not self._ended.is_set():
            self._result, self._error = result, error
            self._ended.set()
            if self._deltas is not None:
                self._deltas.close()

    def _published(self, source: str) -> None:
        """The request lies at `source`: a conflict told about that place is this one's."""
        self._source = source
        for notice in self._conflicts:
            self._conflict(notice)

    def _conflict(self, notice: ResultEvent) -> None:
        if self._source is None:
            self._conflicts.append(notice)
        elif notice.event_id == ids.event_id(self.tenant, self.request_id, f"conflict.{self._source}"):
            self._end(None, Conflict(notice.error_message or "the id was used before with another body"))


class Pieces:
    """What of an output has come and isn't read yet: pieces of the latest attempt only, each once."""

    def __init__(self) -> None:
        self._events: deque[DeltaEvent] = deque()
        self._latest = (0, -1)
        self._more = asyncio.Event()
        self._closed = False

    def take(self, event: DeltaEvent) -> None:
        """Add an event unless it repeats one, or is of an attempt before the latest."""
        place = (event.attempt, event.sequence)
        if place <= self._latest or self._closed:
            return
        if event.attempt > self._latest[0]:
            self._events.clear()
        self._latest = place
        if event.kind != "end":
            self._events.append(event)
        elif event.status == "succeeded":
            self._closed = True
        self._more.set()

    def close(self) -> None:
        """Nothing more will come."""
        self._closed = True
        self._more.set()

    async def read(self) -> AsyncIterator[DeltaEvent]:
        """The events, as they come."""
        while True:
            while self._events:
                yield self._events.popleft()
            if self._closed:
                return
            self._more.clear()
            await self._more.wait()
