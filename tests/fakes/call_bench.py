"""An `Attempts` over fakes: what one try of one attempt does, step by step, without a broker or a provider."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import orjson
from aiokafka import TopicPartition

from processors.limits.backend import MemoryBackend
from processors.limits.limiter import Limiter
from processors.providers.base import ATTEMPT_HEADER, HttpRequest, ProviderFailure
from processors.providers.bench import Bench as Bench_
from processors.providers.bench import Benches
from processors.providers.openai.adapter import OpenAiAdapter
from processors.providers.pool import Later, NoTarget, Pool, Refused, Target
from schemas.config import Config, Deployment, RateLimits
from schemas.records import Attempt, CallTask, Outcome, RequestEvent
from streams.services.call.attempt import Attempts
from streams.services.call.control import ControlState
from streams.services.call.item import Item, Owned
from streams.services.call.journal import RecordTooLarge
from streams.services.call.retries import reserved_tokens
from streams.services.call.watermark import Watermark

CONFIG = Config.model_validate(
    {
        "providers": {"p": {"kind": "openai", "base_url": "http://x"}},
        "models": {
            "m": {"provider": "p", "vendor_model": "v", "call_retries": 2, "limits": {"concurrency": 4}}
        },
        "tenants": {"t": {}},
        "routes": [{"models": ["m"]}],
    }
)
GOOD = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def call_task(**more: Any) -> CallTask:
    """A task of the model `m`, attempt `a` of request `r`, a minute before its deadline."""
    fields: dict[str, Any] = {
        "request_id": "r", "tenant": "t", "attempt": 1, "attempt_id": "a", "model": "m", "lane": "standard",
        "task_type": "chat", "accepted_at": 0, "deadline_at": time.time_ns() // 1_000_000 + 60_000,
        "issued_at": 0, "config_version": "v", "route_partition": 7, "input_tokens_estimate": 1,
        "max_output_tokens": 1, "request": RequestEvent(id="r", prompt="q"),
    }  # fmt: skip
    return CallTask(**(fields | more))


def target(connection: Any, key: str | None = None, place: str = "p/v", weight: int = 1) -> Target:
    """A target of the model `m`, in service."""
    deployment = Deployment(provider="p", vendor_model="v", name=place, weight=weight)
    benches = Benches(Bench_(), Bench_(), Bench_())
    return Target(deployment, key, CONFIG.models["m"], OpenAiAdapter(), connection, benches, share=weight)


class Answer:
    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.status, self.headers, self._body = status, {"content-type": "text/event-stream", **headers}, body

    async def read(self) -> bytes:
        body, self._body = self._body, b""
        return body


class Bench:
    """An `Attempts` over fakes; `steps` tells in order what was journaled, called and told."""

    def __init__(
        self,
        answers: Sequence[tuple[int, dict[str, str]] | ProviderFailure],
        body: bytes = GOOD,
        limits: RateLimits | None = None,
    ) -> None:
        self.steps: list[str] = []
        self.outcomes: list[Outcome] = []
        self.requeued: list[Item] = []
        self.now, self.mono = 1_000_000, 50.0
        self.lease, self.fresh = 60.0, True
        self.answers, self.body = list(answers), body
        self.records: list[Attempt] = []
        self.bodies: list[bytes] = []
        self.error: Any = "no"
        self.journal_end, self.too_large, self.size = 0, False, 10
        self.control = ControlState()
        self.on_journal: Any = lambda record: None
        self.target_error: NoTarget | None = None
        self.dropped, self.told_changed = 0, 0
        clock = SimpleNamespace(now_ms=lambda: self.now, monotonic=lambda: self.mono)
        self.limiter = Limiter("m", limits or CONFIG.models["m"].limits, MemoryBackend())
        self.places = Pool([target(self)])
        self.count_tokens: Any = lambda model, request: None
        deps: Any = SimpleNamespace(
            clock=clock,
            journal=self,
            control=self.control,
            targets=self,
            worker="w",
            jitter=lambda: 0.5,
            deltas=self,
            fetcher=self,
            count_tokens=lambda model, request: self.count_tokens(model, request),
        )
        heartbeat: Any = lambda: SimpleNamespace(lease_until=self.lease, fresh=self.fresh)  # noqa: E731
        self.attempts = Attempts(deps, self.limiter, heartbeat, self.requeued.append, lambda: None)
        self.owned = Owned(TopicPartition("llm.calls.m.standard", 0), "standard", 3, mark=Watermark(0))

    def end(self, partition: int) -> int:
        assert partition == 3
        return self.journal_end

    async def write(self, record: Attempt, partition: int) -> None:
        assert partition == 3 and record.worker == "w" and record.call_offset == 5
        self.steps.append(f"{record.phase}.{record.try_}")
        self.records.append(record)
        self.on_journal(record)
        await asyncio.sleep(0)

    async def outcome(self, outcome: Outcome, partition: int, kept_bytes: int) -> None:
        assert partition == 7 and kept_bytes == self.size, "the task is kept until its outcome is durable"
        if self.too_large and (outcome.output or outcome.task):
            raise RecordTooLarge("its record has 9 bytes; a topic takes 8")
        self.outcomes.append(outcome)
        self.steps.append(outcome.status)

    def pool(self, config: Config, model_id: str) -> Pool:
        return self.places

    def tell_changed(self) -> None:
        self.told_changed += 1

    def transport(self) -> "Bench":
        if self.target_error is not None:
            raise self.target_error
        return self

    def drop(self) -> None:
        self.dropped += 1

    @asynccontextmanager
    async def open(self, request: HttpRequest) -> AsyncIterator[Answer]:
        self.steps.append(f"call {request.headers[ATTEMPT_HEADER]}")
        self.bodies.append(request.body)
        answer = self.answers.pop(0)
        if isinstance(answer, ProviderFailure):
            raise answer
        status, headers = answer
        yield Answer(status, self.body if status == 200 else orjson.dumps({"error": self.error}), headers)

    def item(self, **more: Any) -> Item:
        fields = {"deadline_at": self.now + 60_000}
        fields |= {name: more.pop(name) for name in ("deadline_at", "request") if name in more}
        task = call_task(**fields)
        assert self.owned.mark is not None
        if self.owned.mark.mark > 5:
            self.owned.mark = Watermark(0)
        self.owned.mark.add(5)
        self.size = more.pop("size", 10)
        return Item(self.owned, 5, "standard", self.size, task, CONFIG, **more)

    async def run(self, item: Item) -> None:
        """What the dispatcher does with an item that may start."""
        tokens = reserved_tokens(item.task)
        place = self.places.look(tokens, self.mono, item.failed_at)
        assert not isinstance(place, Later), "nothing may be called"
        if isinstance(place, Refused):
            await self.attempts.refuse(item, place.error)
            return
        assert self.limiter.try_start(tokens, self.mono) == 0
        await self.attempts.run(item, self.places.take(place, tokens, self.mono))
        assert self.limiter.running == 0, "the slot is given back"

    @property
    def done(self) -> bool:
        assert self.owned.mark is not None
        return self.owned.mark.unfinished == 0 and not self.attempts.running
