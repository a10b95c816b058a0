"""A whole pipeline on real parts: stack, topics, schemas, tables, configuration, mock provider, workers."""

import asyncio
import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from schemas import names
from schemas.codec import Codec
from schemas.config import Config
from schemas.control import control_key
from schemas.records import Control, DeadLetter, Outcome, RequestEvent, ResultEvent
from schemas.registry import Registry, SchemaStore
from sinks.clickhouse import Access
from sinks.migrate import migrate
from streams import config_watch, topics
from streams.local.stack import Endpoints, Stack
from streams.local.state import PartName
from tests.pipeline.evidence import Evidence, Id
from tests.pipeline.fleet import ROOT, Fleet, until
from tests.pipeline.promise import Faults, faults
from tests.pipeline.provider import Provider
from tests.pipeline.store import Store

PARTS: Final[tuple[PartName, ...]] = ("kafka", "registry", "clickhouse")
SESSION_S: Final = 6
DATABASE: Final = "sluice"
REPLIES: Final = "replies"
RETRYING: Final = tuple(f"tenant-{n}" for n in range(10))
FAILING: Final = "tenant-fails"
QUARANTINING: Final = "tenant-quarantines"
MODELS: Final = ("fast", "slow")
TENANTS: Final = (*RETRYING, FAILING, QUARANTINING)


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def make_config(provider_url: str, **changes: Any) -> Config:
    """Two models of the mock provider (one with patience for slow calls) and a dummy one; twelve tenants."""
    mock = {
        "provider": "mock", "vendor_model": "v", "price": {"input": 1, "output": 2}, "limits": {"concurrency": 600},
        "context_window": 2_000_000,
    }  # fmt: skip
    patient = {"first_token_s": 40, "idle_s": 40, "total_s": 60}
    values: dict[str, Any] = {
        "defaults": {"deadline_s": 120, "grace_s": 5, "max_attempts": 8},
        "providers": {
            "mock": {"kind": "openai", "base_url": provider_url},
            "dummy": {"kind": "dummy", "dummy": {"latency_ms": 5, "chunks": 3}},
        },
        "models": {
            "fast": {**mock, "aliases": ["quick"], "timeouts": {"total_s": 10}},
            "slow": {**mock, "timeouts": patient, "lanes": ["standard"]},
            "echo": {"provider": "dummy", "vendor_model": "d", "lanes": ["standard"]},
        },
        "tenants": {
            **{tenant: {"reply_topics": [REPLIES]} for tenant in RETRYING},
            FAILING: {"on_unknown": "fail"},
            QUARANTINING: {"on_unknown": "quarantine"},
        },
        "routes": [{"models": ["fast"]}],
    }
    return Config.model_validate({**values, **changes})


@dataclass
class Pipeline:
    """Everything that a test needs; `open` it once a module. Requests go through `publish`, so that they count."""

    stack: Stack
    endpoints: Endpoints
    config: Config
    provider: Provider
    codec: Codec
    fleet: Fleet
    evidence: Evidence
    store: Store
    producer: AIOKafkaProducer
    published: dict[Id, None] = field(default_factory=dict)
    expected_letters: set[str] = field(default_factory=set)
    broken: bool = False
    _resolved: set[str] = field(default_factory=set)

    async def publish(self, *requests: RequestEvent, accepted: bool = True) -> list[RecordMetadata]:
        """Publish requests and return where they lie. `accepted`: each must get its terminal result."""
        sent = [await self.send(self.codec.encode(r, names.REQUESTS), r.tenant.encode()) for r in requests]
        if accepted:
            self.published.update(dict.fromkeys((r.tenant, r.id) for r in requests))
        return list(await asyncio.gather(*sent))

    async def send(self, value: bytes | None, key: bytes | None = None, **more: Any) -> Any:
        """Publish bytes on the requests topic; the future of where they lie."""
        return await self.producer.send(names.REQUESTS, value, key=key, **more)

    async def control(self, command: str, **fields: Any) -> None:
        """Give a command."""
        control = Control(event_id=str(uuid.uuid4()), command=command, at=now_ms(), actor="test", **fields)
        value = self.codec.encode(control, names.CONTROL)
        await self.producer.send_and_wait(names.CONTROL, value, key=control_key(control))

    async def letters(self, ids: Iterable[str], within_s: float = 60) -> list[DeadLetter]:
        """The dead letters with these ids, in their order, once all are there. They count as expected."""
        wanted = list(ids)
        self.expected_letters.update(wanted)

        async def there() -> bool:
            await self.evidence.catch_up()
            return all(self.evidence.letter(i) for i in wanted)

        await until(there, within_s, f"the dead letters {wanted}")
        return [letter for i in wanted if (letter := self.evidence.letter(i)) is not None]

    async def result(self, tenant: str, request_id: str) -> ResultEvent:
        """The terminal result of a request, once it is there."""
        await self.results([(tenant, request_id)])
        return self.evidence.terminal()[tenant, request_id][0]

    async def results(self, ids: Iterable[Id], within_s: float = 90) -> None:
        """Until each of these requests has a terminal result."""
        wanted = set(ids)

        async def there() -> bool:
            await self.evidence.catch_up()
            return wanted <= self.evidence.terminal().keys()

        try:
            await until(there, within_s, f"{len(wanted)} results")
        except AssertionError as error:
            self.broken = True
            lost = sorted(wanted - self.evidence.terminal().keys())
            raise AssertionError(f"{len(lost)} of {len(wanted)} have no result: {lost[:5]}") from error

    async def kept(self, within_s: float = 90) -> None:
        """The promise holds. Raises AssertionError with everything that is wrong or still late at the end."""
        deadline = time.monotonic() + within_s
        while (found := await self.faults()).any:
            if found.wrong or time.monotonic() > deadline:
                self.broken = True
                raise AssertionError("\n".join(["the promise is broken:", *found.any]))
            await self._resolve_quarantined()
            await asyncio.sleep(0.3)

    async def faults(self) -> Faults:
        """What is wrong now. The judges are read before the topics, so that these hold at least as much."""
        calls = self.provider.counts()["by_attempt"]
        stored = await self.store.positions() if self._sinks else {}
        await self.evidence.catch_up()
        letters = self.expected_letters | {x.id for x in self.evidence.letters if x.kind == "quarantine"}
        replies = [REPLIES] if self._relays else []
        return faults(self.evidence, self.published, calls, stored, replies, letters)

    async def trace(self, tenant: str, request_id: str) -> list[dict[str, Any]]:
        """What `sluice trace` tells of a request, step by step."""
        code = "from streams.cli.main import main; main()"
        command = [sys.executable, "-c", code, "trace", request_id, "--tenant", tenant, "--json"]
        environment = {**os.environ, **self.fleet.environment}
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, error = await process.communicate()
        assert process.returncode == 0, error.decode()
        return [json.loads(line) for line in out.splitlines()]

    async def restart_stack(self) -> None:
        """End the broker, the registry and ClickHouse, and start them again over the same data."""
        await asyncio.to_thread(self.stack.down, PARTS)
        again = await asyncio.to_thread(self.stack.up, PARTS)
        assert again == self.endpoints, "the parts moved to other ports"

    @property
    def _sinks(self) -> bool:
        return any(stage == "sink" for stage, _ in self.fleet.workers)

    @property
    def _relays(self) -> bool:
        return any(stage == "relay" for stage, _ in self.fleet.workers)

    async def _resolve_quarantined(self) -> None:
        """The operator's part: have every quarantined attempt tried again."""
        for letter in self.evidence.letters:
            if letter.kind == "quarantine" and letter.id not in self._resolved:
                self._resolved.add(letter.id)
                task = self.codec.decode(letter.value, Outcome).task
                assert task is not None and letter.claimed_tenant is not None
                await self.control(
                    "resolve", tenant=letter.claimed_tenant, request_id=letter.request_id, resolution="retry",
                    dead_letter_id=letter.id, task=task,
                )  # fmt: skip


def request(prefix: str, number: int, **fields: Any) -> RequestEvent:
    """One of a series of requests over all tenants, of which some have their result copied to the reply topic."""
    tenant = TENANTS[number % len(TENANTS)]
    reply = REPLIES if tenant in RETRYING and number % 3 == 0 else None
    event = RequestEvent(
        id=f"{prefix}-{number}", tenant=tenant, prompt=f"{prefix} {number}", model=MODELS[number % 2], reply_topic=reply
    )
    return msgspec.structs.replace(event, **fields)


def requests(prefix: str, count: int, **fields: Any) -> list[RequestEvent]:
    """The first `count` requests of a series."""
    return [request(prefix, number, **fields) for number in range(count)]


@contextlib.asynccontextmanager
async def load(pipeline: Pipeline, prefix: str, per_second: float, **fields: Any) -> AsyncIterator[list[Id]]:
    """Publish requests at an even pace meanwhile; the ids so far are in the list that it gives."""
    sent: list[Id] = []
    enough = asyncio.Event()

    async def go_on() -> None:
        began = time.monotonic()
        for number in itertools.count():
            event = request(prefix, number, **fields)
            await pipeline.publish(event)
            sent.append((event.tenant, event.id))
            with contextlib.suppress(TimeoutError):
                pause = began + (number + 1) / per_second - time.monotonic()
                await asyncio.wait_for(enough.wait(), max(0.001, pause))
            if enough.is_set():
                return

    async with asyncio.TaskGroup() as group:
        group.create_task(go_on())
        yield sent
        enough.set()


@contextlib.asynccontextmanager
async def open_pipeline(
    stack: Stack, logs: Path, config: Callable[[str], Config] = make_config
) -> AsyncIterator[Pipeline]:
    """Start and provision a fresh stack, and end everything at the end. Starts no worker."""
    async with contextlib.AsyncExitStack() as closing:
        endpoints = await asyncio.to_thread(stack.up, PARTS)
        closing.push_async_callback(asyncio.to_thread, stack.down)
        provider = Provider.start()
        closing.callback(provider.stop)
        made = config(provider.base_url)
        http = await closing.enter_async_context(httpx.AsyncClient(timeout=30))
        schemas = SchemaStore(Registry(endpoints.registry_url, http))
        await schemas.register_all()
        specs = topics.specs(made)
        await topics.apply(endpoints.brokers, specs)
        await migrate(Access(endpoints.clickhouse_url, database=DATABASE))
        await config_watch.publish(endpoints.brokers, made)
        codec = Codec(schemas)
        evidence = await Evidence.open(endpoints.brokers, codec, specs)
        closing.push_async_callback(evidence.close)
        store = Store(endpoints.clickhouse_url, DATABASE)
        closing.push_async_callback(store.close)
        producer = AIOKafkaProducer(
            bootstrap_servers=endpoints.brokers, enable_idempotence=True, linger_ms=2, max_request_size=6 << 20
        )
        await producer.start()
        closing.push_async_callback(producer.stop)
        fleet = Fleet(_environment(endpoints), logs)
        closing.push_async_callback(fleet.close)
        await fleet.open()
        yield Pipeline(stack, endpoints, made, provider, codec, fleet, evidence, store, producer)


def _environment(endpoints: Endpoints) -> dict[str, str]:
    return {
        "SLUICE_BROKERS": endpoints.brokers,
        "SLUICE_REGISTRY_URL": endpoints.registry_url,
        "SLUICE_CLICKHOUSE_URL": endpoints.clickhouse_url,
        "SLUICE_CLICKHOUSE_DATABASE": DATABASE,
        "SLUICE_SESSION_TIMEOUT_MS": str(SESSION_S * 1000),
        "SLUICE_DRAIN_TIMEOUT_S": "30",
    }
