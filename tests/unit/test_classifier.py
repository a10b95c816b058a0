"""classify's I/O: no record ends the worker, whatever is in it."""

from typing import Any, cast

from processors.clock import SystemClock
from schemas.codec import Codec
from schemas.config import Config
from schemas.names import CONTROL, DEAD_LETTERS, REQUESTS, TENANT_EVENTS
from schemas.records import (
    CallTask,
    ClassifiedRequest,
    ContentPart,
    Control,
    DeadLetter,
    Message,
    RequestEvent,
)
from schemas.registry import SchemaStore
from streams import metrics
from streams.classifier import Classifier
from streams.config_watch import ConfigWatcher
from streams.outbox.contract import Inbound, Outbound
from tests.unit.test_config_rules import config

CODEC = Codec(SchemaStore())
LIMIT = 6 << 20


class Active:
    """One configuration."""

    def active(self) -> tuple[str, Config]:
        return "v1", Config.model_validate(config())


async def classified(
    value: bytes | None, key: bytes | None = None, codec: Codec = CODEC, topic: str = REQUESTS
) -> Outbound:
    classifier = Classifier(codec, cast(ConfigWatcher, Active()), SystemClock(), partitions=12)
    return await classifier.outbound(Inbound(topic, 3, 14, 1_700_000_000_000, key, value))


def letter_of(out: Outbound) -> DeadLetter:
    assert out.topic == DEAD_LETTERS and out.value is not None
    assert len(out.value) < LIMIT, "a letter must fit its topic"
    return CODEC.decode(out.value, DeadLetter)


async def test_a_request_goes_to_its_tenants_partition() -> None:
    out = await classified(CODEC.encode(RequestEvent(id="r", tenant="acme", prompt="hello"), REQUESTS))
    assert out.topic == TENANT_EVENTS and out.key == b"acme" and out.partition is not None
    assert CODEC.decode(out.value, ClassifiedRequest).request.id == "r"


async def test_a_letter_of_large_parts_still_fits_and_says_what_was_cut() -> None:
    letter = letter_of(await classified(b"x" * (5 << 20), key=b"k" * (1 << 20)))
    assert letter.reason == "undecodable" and "bytes of its value" in letter.message
    event = RequestEvent(id="i" * (3 << 20), tenant="nobody" * 100_000, prompt="hello")
    letter = letter_of(await classified(CODEC.encode(event, REQUESTS)))
    assert letter.reason == "unknown_tenant" and len(letter.request_id or "") == 1024


async def test_a_request_too_large_to_travel_on_becomes_a_letter() -> None:
    """Its call task, outcome and letters must fit their topics; what isn't content has no bound of its own."""
    part = ContentPart(type="text", text="hello", cache="c" * (5 << 20))
    event = RequestEvent(id="r", tenant="acme", messages=[Message(role="user", content=[part])])
    counted = metrics.CLASSIFY_EVENTS.labels("classified")
    before = counted._value.get()
    letter = letter_of(await classified(CODEC.encode(event, REQUESTS)))
    assert (letter.reason, letter.claimed_tenant, letter.request_id) == ("too_large", "acme", "r")
    assert counted._value.get() == before, "counted as a dead letter alone"


async def test_a_command_may_carry_the_task_of_the_largest_request() -> None:
    part = ContentPart(type="text", text="hello", cache="c" * ((5 << 20) - 100))
    request = RequestEvent(id="r", tenant="acme", messages=[Message(role="user", content=[part])])
    task = CallTask(
        request_id="r", tenant="acme", attempt=1, attempt_id="a", model="echo", lane="standard", task_type="chat",
        accepted_at=1, deadline_at=2, issued_at=1, config_version="v", route_partition=0,
        input_tokens_estimate=1, max_output_tokens=1, request=request,
    )  # fmt: skip
    control = Control(
        event_id="e", command="resolve", at=1, actor="ann", tenant="acme", request_id="r", resolution="retry",
        reason="why " * 1000, task=task,
    )  # fmt: skip
    out = await classified(CODEC.encode(control, CONTROL), topic=CONTROL)
    assert out.topic == TENANT_EVENTS and 5 << 20 < len(out.value or b"") < LIMIT
    task.request.messages[0].content[0].cache = "c" * ((5 << 20) + (70 << 10))
    letter = letter_of(await classified(CODEC.encode(control, CONTROL), topic=CONTROL))
    assert letter.reason == "too_large"


async def test_a_record_that_fails_unexpectedly_is_given_up_alone() -> None:
    class Broken(Codec):
        async def decode_async(self, data: Any, expected: Any) -> Any:
            raise RuntimeError("a defect of ours")

    letter = letter_of(await classified(b"anything", codec=Broken(SchemaStore())))
    assert letter.reason == "poison" and letter.value == b"anything" and "redrive" in letter.message
