"""What a request waits for, and what only Kafka tells of it."""

from dataclasses import dataclass
from typing import Any

import pytest

from schemas import names
from schemas.codec import Codec
from schemas.config import Config
from schemas.control import control_key
from schemas.records import ClassifiedRequest, Control, RequestEvent
from schemas.registry import SchemaStore
from streams.cli import trace_kafka
from streams.cli.failure import Unreachable
from streams.cli.kafka import FROM_START, Span
from streams.cli.steps import NOT_BEFORE, REPLY_TO, Step
from streams.cli.trace_kafka import Pauses, waiting
from tests.unit.test_config_rules import config

CODEC = Codec(SchemaStore())
PLACE: Any = type("Place", (), {"brokers": "b"})
ACCEPTED = Step(20, "route", "accepted", {"model": "fast"})
STARTED = Step(30, "call", "started", {"attempt": 1})
DONE = Step(40, "call", "done", {"attempt": 1})
RETRIED = Step(50, "route", "retried", {"attempt": 2, "model": "slow", NOT_BEFORE: "1970-01-01T00:00:09.000Z"})


def pause(**of: str) -> Control:
    return Control(event_id="e", command="pause", at=1000, actor="operator:eve", reason="a leak", **of)


NOTHING: Pauses = {}
BY_MODEL: Pauses = {("model", "fast"): pause(model="fast")}
BY_TENANT: Pauses = {("tenant", "acme"): pause(tenant="acme")}


@pytest.mark.parametrize(
    ("told", "paused", "now", "why"),
    [
        ([ACCEPTED], BY_MODEL, 60, "model fast is paused since 1970-01-01T00:00:01.000Z by operator:eve (a leak)"),
        ([ACCEPTED], BY_MODEL, 60, "`sluice resume fast`"),
        ([ACCEPTED], BY_TENANT, 60, "tenant acme is paused since"),
        ([ACCEPTED], NOTHING, 60, "in the queue of fast"),
        ([ACCEPTED, STARTED], BY_MODEL, 60, "attempt 1 is at the provider of fast"),
        ([ACCEPTED, STARTED, DONE], NOTHING, 60, "its outcome waits for route"),
        ([ACCEPTED, STARTED, DONE, RETRIED], BY_MODEL, 60, "attempt 2 is put off until 1970-01-01T00:00:09.000Z"),
        ([ACCEPTED, STARTED, DONE, RETRIED], NOTHING, 9001, "in the queue of slow"),
        ([ACCEPTED, STARTED, Step(45, "call", "abandoned", {"attempt": 1})], NOTHING, 60, "in the queue of fast"),
        ([ACCEPTED, STARTED, Step(45, "route", "quarantined", {})], NOTHING, 60, "sluice quarantine list"),
        ([ACCEPTED, Step(45, "route", "duplicate", {})], BY_MODEL, 60, "model fast is paused"),
    ],
)
def test_why_a_request_waits(told: list[Step], paused: Pauses, now: int, why: str) -> None:
    step = waiting(told, paused, "acme", now)
    assert step is not None and (step.at, step.stage, step.what) == (now, "now", "waits")
    assert why in step.text


def test_of_a_request_that_nobody_accepted_nothing_is_said() -> None:
    assert waiting([], BY_MODEL, "acme", 1) is None


@dataclass
class Lying:
    """A record as it lies on Kafka."""

    value: bytes | None
    key: bytes | None = None
    timestamp: int = 15
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int = 3
    offset: int = 8


class Kafka:
    """Topics by name, and which were asked for with which span."""

    def __init__(self, **topics: list[Lying]) -> None:
        self.topics = {name.replace("_", "."): records for name, records in topics.items()}
        self.asked: dict[str, Span] = {}

    async def read(self, brokers: str, topic: str, span: Span = FROM_START) -> Any:
        self.asked[topic] = span
        if topic not in self.topics:
            raise Unreachable(f"topic {topic} doesn't exist")
        for record in self.topics[topic]:
            yield record


def classified(request_id: str, tenant: str = "acme") -> bytes:
    return CODEC.encode(
        ClassifiedRequest(
            source_topic="t", source_partition=0, source_offset=1, accepted_at=10, config_version="v", body_hash=b"h",
            task_type="chat", lane="batch", deadline_at=9, input_tokens_estimate=1,
            request=RequestEvent(id=request_id, tenant=tenant),
        )
    )  # fmt: skip


async def test_the_classification_lies_between_publication_and_acceptance(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [Lying(b"r1 is not Avro"), Lying(None), Lying(classified("r11")), Lying(classified("r1", "other"))]
    kafka = Kafka()
    kafka.topics[names.TENANT_EVENTS] = [*others, Lying(classified("r1"), timestamp=16), Lying(classified("r1"))]
    monkeypatch.setattr(trace_kafka, "read", kafka.read)
    told = [Step(10, "request", "published"), ACCEPTED]
    step = await trace_kafka._classified(PLACE, CODEC, "r1", "acme", told)
    assert step == Step(16, "classify", "classified", {"task type": "chat", "lane": "batch"})
    assert kafka.asked[names.TENANT_EVENTS].tenant == "acme"
    assert await trace_kafka._classified(PLACE, CODEC, "r1", "acme", [ACCEPTED]) is None


def copy(request_id: str, kind: str = "terminal") -> Lying:
    told = {names.HEADER_TENANT: "acme", names.HEADER_REQUEST_ID: request_id, names.HEADER_KIND: kind}
    return Lying(b"", headers=tuple((k, v.encode()) for k, v in told.items()))


async def test_the_copy_on_the_reply_topic_is_told_or_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    kafka = Kafka(replies=[copy("r2"), copy("r1", "duplicate"), copy("r1")])
    monkeypatch.setattr(trace_kafka, "read", kafka.read)
    step = await trace_kafka._copied(PLACE, "r1", "acme", "replies", 12)
    assert (step.stage, step.what, step.details) == ("relay", "copied", {"to": "replies-3-8"})
    late = await trace_kafka._copied(PLACE, "r3", "acme", "replies", 12)
    assert late.what == "waits" and "isn't on replies (yet)" in late.text
    gone = await trace_kafka._copied(PLACE, "r1", "acme", "nowhere", 12)
    assert gone.what == "waits" and "topic nowhere doesn't exist" in gone.text


async def test_what_is_paused_now_is_told_with_who_paused_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model = {"provider": "dummy", "vendor_model": "v"}
    known = Config.model_validate(config(models={"echo": {**model, "aliases": ["e"]}, "other": model}))

    async def active(brokers: str) -> tuple[str, Config]:
        return "v", known

    by_alias, resumed = pause(model="e"), Control(event_id="f", command="resume", at=2, actor="o", model="other")
    commands = [by_alias, pause(model="other"), resumed, pause(tenant="acme")]
    kafka = Kafka()
    kafka.topics[names.CONTROL] = [Lying(CODEC.encode(c), control_key(c)) for c in commands] + [Lying(b"?", b"x")]
    monkeypatch.setattr(trace_kafka, "read", kafka.read)
    monkeypatch.setattr(trace_kafka, "active", active)
    assert await trace_kafka._paused(PLACE, CODEC) == {("model", "echo"): by_alias, ("tenant", "acme"): commands[3]}


def test_results_say_their_reply_topic() -> None:
    from streams.cli import steps

    row = {"model": "m", "attempts": 1, "error_class": "", "error_message": "", "finish_reason": ""}
    row |= {"completed_at": 2, "accepted_at": 1, "status": "succeeded", "original_request_id": ""}
    assert steps.result({**row, "reply_topic": "replies"}).details[REPLY_TO] == "replies"
    assert REPLY_TO not in steps.result({**row, "reply_topic": ""}).details
