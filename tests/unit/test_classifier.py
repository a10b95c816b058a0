"""classify's I/O: no record ends the worker, whatever is in it."""

from typing import Any, cast

from processors.clock import SystemClock
from schemas.codec import Codec
from schemas.config import Config
from schemas.names import DEAD_LETTERS, REQUESTS, TENANT_EVENTS
from schemas.records import ClassifiedRequest, DeadLetter, RequestEvent
from schemas.registry import SchemaStore
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


async def classified(value: bytes | None, key: bytes | None = None, codec: Codec = CODEC) -> Outbound:
    classifier = Classifier(codec, cast(ConfigWatcher, Active()), SystemClock(), partitions=12)
    return await classifier.outbound(Inbound(REQUESTS, 3, 14, 1_700_000_000_000, key, value))


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


async def test_a_record_that_fails_unexpectedly_is_given_up_alone() -> None:
    class Broken(Codec):
        async def decode_async(self, data: Any, expected: Any) -> Any:
            raise RuntimeError("a defect of ours")

    letter = letter_of(await classified(b"anything", codec=Broken(SchemaStore())))
    assert letter.reason == "poison" and letter.value == b"anything" and "redrive" in letter.message
