"""A small world around a route machine: a clock to turn, configurations, events to feed, emits to look at."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from typing import Any, TypeVar

import msgspec

from processors.route.emit import Emit, Source
from processors.route.machine import Record, RouteMachine
from processors.route.seams import Seams
from schemas import ids
from schemas.config import Config
from schemas.records import (
    AuditEvent,
    CallTask,
    ClassifiedRequest,
    ContentPart,
    Control,
    ErrorInfo,
    Outcome,
    Problem,
    RequestEvent,
    ResultEvent,
    Timings,
    Usage,
    UsageEvent,
)

T0 = 1_750_000_000_000
TENANT = "acme"
Changelog = list[tuple[bytes, bytes | None]]
E = TypeVar("E", bound=msgspec.Struct)


def config(**changes: Any) -> Config:
    """Three models: `small` (priced, alias `fast`), `large` (priced) and `free` (batch only, no price)."""
    data: dict[str, Any] = {
        "providers": {"sim": {"kind": "dummy"}},
        "models": {
            "small": {
                "provider": "sim",
                "vendor_model": "s",
                "aliases": ["fast"],
                "price": {"input": 1, "output": 2},
                "context_window": 4000,
            },
            "large": {
                "provider": "sim",
                "vendor_model": "l",
                "price": {"input": 10, "output": 20},
                "max_output_tokens": 500,
                "context_window": 64_000,
            },
            "free": {"provider": "sim", "vendor_model": "f", "lanes": ["batch"]},
        },
        "tenants": {
            TENANT: {},
            "narrow": {"models": ["fast"]},
            "wary": {"on_unknown": "quarantine"},
            "strict": {"on_unknown": "fail"},
        },
        "routes": [
            {"task_type": "bulk", "lane": "batch", "models": ["free"]},
            {"task_type": "extraction", "models": ["large"]},
            {"models": ["small", "large"]},
        ],
    }
    for path, value in changes.items():
        *parents, name = path.split("__")
        place = data
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = value
    return Config.model_validate(data)


@dataclass
class TurnableClock:
    """A clock that a test turns."""

    now: int = T0

    def now_ms(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.now / 1000


@dataclass
class Configs:
    """Configurations by version; the last one added is active."""

    known: dict[str, Config] = field(default_factory=dict)

    def add(self, added: Config) -> str:
        version = added.content_hash()
        self.known[version] = added
        self._active = version
        return version

    def get(self, version: str) -> Config:
        return self.known[version]

    def active(self) -> tuple[str, Config]:
        return self._active, self.known[self._active]


@dataclass
class SickModels:
    """A health view in which the models listed are sick."""

    sick: set[str] = field(default_factory=set)

    def healthy(self, model: str) -> bool:
        return model not in self.sick


class World:
    """A machine and everything around it. `sent` collects every emit since the start."""

    def __init__(self, configured: Config | None = None, **seams: Any) -> None:
        self.clock = TurnableClock()
        self.configs = Configs()
        self.version = self.configs.add(configured or config())
        self.seams = Seams(encode=msgspec.json.encode, **seams)
        self.sent: list[Emit] = []
        self.changelog: Changelog = []
        self.offset = 0
        self.machine = self.new_machine()

    def new_machine(self) -> RouteMachine:
        return RouteMachine(3, self.clock, self.configs, self.seams)

    def feed(self, record: Record) -> list[Emit]:
        """Handle a record as the next of the partition."""
        emits = self.machine.handle(record, self.next_source())
        self.sent += emits
        return emits

    def next_source(self) -> Source:
        self.offset += 1
        return Source("llm.tenant-events", 3, self.offset, self.clock.now)

    def wait(self, seconds: float) -> list[Emit]:
        """Let time pass, with every timer that falls due."""
        self.clock.now += int(seconds * 1000)
        emits: list[Emit] = []
        while (due := self.machine.next_due()) is not None and due <= self.clock.now:
            emits += self.machine.tick(self.clock.now)
        self.sent += emits
        return emits

    def flush(self) -> Changelog:
        written = self.machine.flush()
        self.changelog += written
        return written

    def reopen(self, compact: bool = True) -> RouteMachine:
        """A machine rebuilt from the changelog."""
        rebuilt = self.new_machine()
        for key, value in compacted(self.changelog) if compact else self.changelog:
            rebuilt.load(key, value)
        rebuilt.loaded()
        return rebuilt

    def reopen_records(self) -> Changelog:
        """What compaction leaves of the changelog."""
        return compacted(self.changelog)

    def request(self, id_: str = "r1", tenant: str = TENANT, **changes: Any) -> ClassifiedRequest:
        """A classified request, new at its source unless `source_offset` is given."""
        self.offset += 1
        outer = {k: changes.pop(k) for k in list(changes) if k in ClassifiedRequest.__struct_fields__}
        request = RequestEvent(id=id_, tenant=tenant, **{"prompt": "Say hello.", **changes})
        fields: dict[str, Any] = {
            "source_topic": "llm.requests",
            "source_partition": 0,
            "source_offset": self.offset,
            "accepted_at": self.clock.now - 20,
            "config_version": self.version,
            "body_hash": sha256(repr(request.prompt).encode()).digest()[:16],
            "task_type": "chat",
            "lane": "standard",
            "deadline_at": self.clock.now + 300_000,
            "input_tokens_estimate": 7,
            "request": request,
        }
        return ClassifiedRequest(**{**fields, **outer})

    def submit(self, id_: str = "r1", tenant: str = TENANT, **changes: Any) -> CallTask:
        """Feed a request and give back its first call task."""
        return only(self.feed(self.request(id_, tenant, **changes)), CallTask)


def outcome(task: CallTask, status: str = "succeeded", error: str | None = None, **changes: Any) -> Outcome:
    """An outcome of the task; `error` is an error class. Fields of ErrorInfo may be given directly."""
    info = {k: changes.pop(k) for k in list(changes) if k in ErrorInfo.__struct_fields__}
    if error is None and status != "succeeded":
        error = {"unknown": "worker_lost", "returned": "drained"}.get(status, status)
    fields: dict[str, Any] = {
        "event_id": ids.event_id(task.tenant, task.request_id, "outcome", task.attempt, 1),
        "request_id": task.request_id,
        "tenant": task.tenant,
        "attempt": task.attempt,
        "attempt_id": task.attempt_id,
        "tries": 1,
        "model": task.model,
        "status": status,
        "config_version": task.config_version,
        "timings": Timings(
            accepted_at=task.accepted_at, issued_at=task.issued_at, completed_at=task.issued_at + 50
        ),
        "provider": "sim",
        "error": ErrorInfo(error_class=error, message=f"it was {error}", **info) if error else None,
        "task": task,
    }
    if status == "succeeded":
        fields |= {
            "task": None,
            "finish_reason": "stop",
            "output": [ContentPart(type="text", text="Hel"), ContentPart(type="text", text="lo.")],
            "usage": Usage(input_uncached=7, cache_read=0, cache_write=0, output=3, reasoning=0),
            "cost": Decimal("0.000013"),
        }
    return Outcome(**{**fields, **changes})


def control(
    command: str, request_id: str | None = "r1", tenant: str | None = TENANT, **changes: Any
) -> Control:
    fields: dict[str, Any] = {
        "event_id": f"{command}-{tenant}-{request_id}",
        "command": command,
        "at": T0,
        "actor": "operator",
        "tenant": tenant,
        "request_id": request_id,
    }
    return Control(**{**fields, **changes})


def problem(code: str = "too_long") -> Problem:
    return Problem(code=code, message="The prompt is too long: shorten it.", field="prompt")


def records_of(emits: Sequence[Emit], kind: type[E]) -> list[E]:
    """The records of one type, in order."""
    return [emit.record for emit in emits if isinstance(emit.record, kind)]


def only(emits: Sequence[Emit], kind: type[E]) -> E:
    """The one record of a type."""
    found = records_of(emits, kind)
    assert len(found) == 1, f"{len(found)} of {kind.__name__} in {[type(e.record).__name__ for e in emits]}"
    return found[0]


def result(emits: Sequence[Emit]) -> ResultEvent:
    return only(emits, ResultEvent)


def usage(emits: Sequence[Emit]) -> UsageEvent:
    return only(emits, UsageEvent)


def actions(emits: Sequence[Emit]) -> list[str]:
    return [event.action for event in records_of(emits, AuditEvent)]


def compacted(changelog: Changelog) -> Changelog:
    """What Kafka's compaction leaves: the last value of each key, at its place; tombstones gone."""
    last = {key: i for i, (key, _) in enumerate(changelog)}
    return [(k, v) for i, (k, v) in enumerate(changelog) if last[k] == i and v is not None]
