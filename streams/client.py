"""A typed client for upstream services: submit requests, await their results.

async with Client("broker:9092", "http://registry:8081") as client:
    handle = await client.submit(tenant="acme", prompt="Say hello")
    result = await handle.result(timeout=60)
"""

import asyncio
import hashlib
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, Unpack
from weakref import WeakSet, WeakValueDictionary

import httpx
import msgspec
from aiokafka import AIOKafkaProducer

from schemas import ids, names
from schemas.codec import Codec
from schemas.control import control_key
from schemas.records import Control, DeadLetter, DeltaEvent, RequestEvent, ResultEvent
from schemas.registry import Registry, SchemaStore
from schemas.signals import Invalid
from streams.client_deltas import DeltaReader
from streams.client_fields import RequestFields
from streams.client_handle import ClientError, DeadLettered, Handle, ReadFailed
from streams.client_reader import Record, ResultReader

_MAX_BYTES: Final = 6 << 20
_EARLY_LETTERS: Final = 1000
_DEDUPE_S: Final = 24 * 3600
_REGISTRY_TIMEOUT_S: Final = 10


@dataclass(frozen=True, slots=True)
class ClientTopics:
    """The topics a client uses, for clusters that mirror them under other names."""

    requests: str = names.REQUESTS
    results: str = names.RESULTS
    control: str = names.CONTROL
    dead_letters: str = names.DEAD_LETTERS


class Client:
    """Publishes requests and reads results. Use it as an async context manager, in one event loop.

    `security` goes to the Kafka clients (`security_protocol`, `ssl_context`, `sasl_mechanism`, ...). Without a
    registry, requests are published in Avro single-object encoding. `remember_s` is how far back a repeated
    request's first result is looked for: the pipeline's `dedupe_hours`, in seconds.
    """

    def __init__(
        self,
        brokers: str,
        registry_url: str | None = None,
        *,
        security: Mapping[str, Any] | None = None,
        name: str = "sluice-client",
        remember_s: float = _DEDUPE_S,
        topics: ClientTopics | None = None,
    ) -> None:
        self._kafka = {"bootstrap_servers": brokers, "client_id": name, **(security or {})}
        self._registry_url = registry_url
        self._name = name
        self._remember_ms = int(remember_s * 1000)
        self._topics = topics or ClientTopics()
        self._handles: WeakValueDictionary[tuple[str, str], Handle] = WeakValueDictionary()
        self._originals: dict[tuple[str, str], WeakSet[Handle]] = {}
        self._sources: WeakValueDictionary[str, Handle] = WeakValueDictionary()
        self._early: OrderedDict[str, DeadLetter] = OrderedDict()
        self._sending = 0
        self._failure: ClientError | None = None

    async def __aenter__(self) -> Self:
        """Connect.

        Raises RegistryUnreachable, LookupError (schemas or topics are missing), or Kafka's own error.
        """
        self._http = httpx.AsyncClient(timeout=_REGISTRY_TIMEOUT_S, trust_env=False)
        registry = Registry(self._registry_url, self._http) if self._registry_url else None
        self._codec = Codec(SchemaStore(registry))
        self._producer = AIOKafkaProducer(
            **self._kafka, acks="all", enable_idempotence=True, max_request_size=_MAX_BYTES, linger_ms=2
        )
        topics = self._topics
        self._reader = ResultReader(self._kafka, topics.results, topics.dead_letters, self._dispatch)
        try:
            if registry is not None:
                await self._codec.store.lookup_all()
            await self._producer.start()
            await self._reader.start(self._producer.partitions_for)
        except BaseException:
            await self._close()
            raise
        self._deltas = DeltaReader(
            self._kafka, self._codec, self._producer.partitions_for, self._streams, self._take_delta
        )
        self._reading = asyncio.create_task(self._reader.run())
        self._reading.add_done_callback(self._reading_ended)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop reading and disconnect. Requests go on; `attach` finds their results again."""
        self._reading.remove_done_callback(self._reading_ended)
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self._deltas.stop()
        await self._close()
        self._fail(ReadFailed("the client was closed"))

    async def submit(self, **fields: Unpack[RequestFields]) -> Handle:
        """Publish a request and return once Kafka has it safe. Without an `id` it gets a random one.

        Raises ValueError without a tenant, or where the same id is awaited here with another body; LookupError
        where deltas are wanted on a topic that isn't there; Kafka's own error where it can't be published.
        """
        return (await self.submit_many([RequestEvent(**fields)]))[0]

    async def submit_many(self, requests: Iterable[RequestEvent]) -> list[Handle]:
        """Publish many requests, in order; returns their handles in the same order. Raises like `submit`."""
        handles, sent = [], []
        self._sending += 1
        try:
            for request in requests:
                handle, value = await self._registered(request)
                if request.stream_deltas and request.reply_topic is not None and handle._deltas is None:
                    await self._deltas.follow(request.reply_topic)
                    handle._take_deltas()
                handles.append(handle)
                key = request.tenant.encode()
                sent.append(await self._producer.send(self._topics.requests, value, key=key))
            for handle, future in zip(handles, sent, strict=True):
                place = await future
                self._lies_at(handle, ids.dead_letter_id(place.topic, place.partition, place.offset))
        finally:
            self._sending -= 1
            if not self._sending:
                self._early.clear()
        return handles

    async def attach(self, tenant: str, request_id: str, since_ms: int | None = None) -> Handle:
        """A handle of a request submitted earlier, here or elsewhere; its result may have been published already.

        Results are looked for from `since_ms` on (milliseconds since the epoch; `remember_s` ago by default).
        """
        handle = self._handles.get((tenant, request_id))
        if handle is None:
            handle = Handle(self, tenant, request_id, None)
            await self._await_result(handle)
        if not handle.done():
            self._search(tenant, since_ms)
        return handle

    async def cancel(self, tenant: str, request_id: str, reason: str | None = None) -> None:
        """Ask for a request's end. Returns once Kafka has the command safe."""
        control = Control(
            event_id=str(uuid.uuid4()), command="cancel", at=_now_ms(), actor=self._name,
            tenant=tenant, request_id=request_id, reason=reason,
        )  # fmt: skip
        value = self._codec.encode(control, names.CONTROL)
        await self._producer.send_and_wait(self._topics.control, value, key=control_key(control))

    def _streams(self, tenant: str, request_id: str) -> bool:
        handle = self._handles.get((tenant, request_id))
        return handle is not None and handle._deltas is not None

    def _take_delta(self, event: DeltaEvent) -> None:
        handle = self._handles.get((event.tenant, event.request_id))
        if handle is not None and handle._deltas is not None:
            handle._deltas.take(event)

    def _lies_at(self, handle: Handle, source: str) -> None:
        self._sources[source] = handle
        handle._published(source)
        if (letter := self._early.pop(source, None)) is not None:
            handle._end(None, DeadLettered(letter))

    async def _registered(self, request: RequestEvent) -> tuple[Handle, bytes]:
        """A handle that hears of the request's result from now on, and the request's bytes."""
        if not request.tenant:
            raise ValueError("a request needs a tenant")
        if not request.id:
            request = msgspec.structs.replace(request, id=str(uuid.uuid4()))
        value = self._codec.encode(request, names.REQUESTS)
        body = hashlib.blake2b(value).digest()
        handle = self._handles.get((request.tenant, request.id))
        if handle is None or handle._error is not None:
            handle = Handle(self, request.tenant, request.id, body)
            await self._await_result(handle)
        elif handle._body not in (None, body):
            raise ValueError(f"request {request.id} is awaited already with another body: use another id")
        return handle, value

    async def _await_result(self, handle: Handle) -> None:
        if self._failure is not None:
            raise self._failure
        self._handles[handle.tenant, handle.request_id] = handle
        await self._reader.follow(handle.tenant)

    def _search(self, tenant: str, since_ms: int | None = None) -> None:
        since = _now_ms() - self._remember_ms if since_ms is None else since_ms
        task = self._reader.search(tenant, since)
        task.add_done_callback(self._reading_ended)

    async def _dispatch(self, record: Record) -> None:
        if record.topic == self._topics.dead_letters:
            await self._dispatch_letter(record)
            return
        headers = dict(record.headers)
        tenant = headers.get(names.HEADER_TENANT, b"").decode()
        key = tenant, headers.get(names.HEADER_REQUEST_ID, b"").decode()
        handle, others = self._handles.get(key), self._originals.get(key)
        if handle is None and not others:
            return
        try:
            event = await self._codec.decode_async(record.value, ResultEvent)
        except Invalid as invalid:
            if handle is not None:
                handle._end(None, ReadFailed(f"the result can't be decoded: {invalid}"))
            return
        if event.kind == "terminal":
            for waiting in (handle, *self._originals.pop(key, ())):
                if waiting is not None:
                    waiting._end(event)
        elif handle is not None and not handle.done():
            self._notice(handle, event)

    def _notice(self, handle: Handle, event: ResultEvent) -> None:
        if event.kind == "conflict":
            handle._conflict(event)
            return
        original = handle.tenant, event.original_request_id or handle.request_id
        waiting = self._originals.setdefault(original, WeakSet())
        if handle not in waiting:
            # The first result may lie behind us: look back for it, while what comes is read on.
            waiting.add(handle)
            self._search(handle.tenant)

    async def _dispatch_letter(self, record: Record) -> None:
        source = (record.key or b"").decode(errors="replace")
        handle = self._sources.get(source)
        if handle is None and not self._sending:
            return
        try:
            letter = await self._codec.decode_async(record.value, DeadLetter)
        except Invalid:  # nothing that Sluice wrote, so nothing about a request of ours
            return
        if handle is not None:
            handle._end(None, DeadLettered(letter))
            return
        # It may be about a request of ours whose place Kafka hasn't told us yet.
        self._early[source] = msgspec.structs.replace(letter, value=None)
        if len(self._early) > _EARLY_LETTERS:
            self._early.popitem(last=False)

    def _reading_ended(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled() or (cause := task.exception()) is None:
            return
        failure = ReadFailed(f"results can't be read any more: {cause}")
        failure.__cause__ = cause
        self._fail(failure)

    def _fail(self, failure: ClientError) -> None:
        self._failure = failure
        for handle in list(self._handles.values()):
            handle._end(None, failure)

    async def _close(self) -> None:
        await self._reader.stop()
        await self._producer.stop()
        await self._http.aclose()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
