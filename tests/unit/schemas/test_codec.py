"""Framing, hostile lengths, and the reasons given for what can't be decoded."""

import time
import tracemalloc
from decimal import Decimal

import pytest

from schemas import logical
from schemas.codec import Codec
from schemas.definitions import crc64
from schemas.records import CallTask, ContentPart, Message, Outcome, RequestEvent, Timings
from schemas.registry import SchemaStore, UnknownSchemaId
from schemas.signals import Invalid

REQUEST = RequestEvent(id="r1", tenant="acme", prompt="hello", max_cost=Decimal("0.05"))


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec(SchemaStore())


def zigzag(number: int) -> bytes:
    """A long as Avro writes it."""
    number = (number << 1) ^ (number >> 63)
    out = bytearray()
    while number & ~0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


@pytest.mark.parametrize(
    ("canonical_form", "fingerprint"),
    [
        ('"null"', 0x63DD24E7CC258F8A),
        ('"boolean"', 0x9F42FC78A4D4F764),
        ('"int"', 0x7275D51A3F395C8F),
        ('"long"', 0xD054E14493F41DB7),
        ('"float"', 0x4D7C02CB3EA8D790),
        ('"double"', 0x8E7535C032AB957E),
        ('"bytes"', 0x4FC016DAC3201965),
        ('"string"', 0x8F014872634503C7),
    ],
)
def test_fingerprints_are_those_of_the_avro_project(canonical_form: str, fingerprint: int) -> None:
    assert crc64(canonical_form) == fingerprint.to_bytes(8, "little")


def test_without_a_registry_events_are_single_object_encoded(codec: Codec) -> None:
    data = codec.encode(REQUEST, "llm.requests")
    assert data[:2] == b"\xc3\x01"
    assert data[2:10] == codec.store.fingerprints["sluice.RequestEvent"]
    assert codec.decode(data, RequestEvent) == REQUEST


def test_the_type_is_taken_from_the_bytes(codec: Codec) -> None:
    outcome = Outcome(
        event_id="e", request_id="r", tenant="t", attempt=1, attempt_id="a", tries=1, model="m",
        status="succeeded", config_version="v", timings=Timings(accepted_at=1), cost=Decimal("-1.000000001"),
    )  # fmt: skip
    assert codec.decode(codec.encode(outcome), (CallTask, Outcome)) == outcome


@pytest.mark.parametrize(
    ("data", "reason", "hint"),
    [
        (None, "null_value", "no value"),
        (b"", "undecodable", "0 bytes"),
        (b'{"tenant": "acme"}', "undecodable", "JSON"),
        (b"\x00\x00\x00", "undecodable", "neither"),
        (b"\xc3\x01" + b"\x07" * 8 + b"abc", "unknown_schema", "0707070707070707"),
    ],
)
def test_what_is_no_event_says_why(codec: Codec, data: bytes | None, reason: str, hint: str) -> None:
    with pytest.raises(Invalid) as caught:
        codec.decode(data, RequestEvent)
    assert caught.value.reason == reason
    assert hint in caught.value.message


def test_another_record_than_expected_is_named(codec: Codec) -> None:
    with pytest.raises(
        Invalid, match=r"sluice\.RequestEvent.*takes sluice\.CallTask or sluice\.Outcome"
    ) as caught:
        codec.decode(codec.encode(REQUEST), (CallTask, Outcome))
    assert caught.value.reason == "unexpected_type"


def test_an_unknown_registry_id_asks_for_the_schema(codec: Codec) -> None:
    with pytest.raises(UnknownSchemaId) as caught:
        codec.decode(b"\x00\x00\x00\x00\x09body", RequestEvent)
    assert caught.value.schema_id == 9


@pytest.mark.parametrize("length", [1 << 40, (1 << 63) - 1, -1, -(1 << 63)])
@pytest.mark.parametrize("fields_before", [0, 1])
def test_a_false_length_allocates_nothing(codec: Codec, length: int, fields_before: int) -> None:
    hostile = codec.encode(REQUEST)[:10] + b"\x00" * fields_before + zigzag(length) + b"abc"
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(Invalid) as caught:
        codec.decode(hostile, RequestEvent)
    took, peak = time.perf_counter() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.reason == "undecodable"
    assert took < 1
    assert peak < 10 << 20


def test_few_bytes_do_not_become_many_objects(codec: Codec) -> None:
    """Six megabytes of zeros are two million empty messages to a reader without a bound."""
    hostile = codec.encode(REQUEST)[:10] + b"\x00\x00\x00" + zigzag(1 << 40) + bytes(6 << 20)
    began = time.perf_counter()
    with pytest.raises(Invalid, match="more than 20000 records") as caught:
        codec.decode(hostile, RequestEvent)
    assert caught.value.reason == "undecodable"
    assert time.perf_counter() - began < 2


def test_as_many_records_as_are_allowed_are_read_each_time(codec: Codec) -> None:
    parts = [ContentPart(type="text", text="x")] * (logical.MAX_RECORDS - 2)
    large = RequestEvent(tenant="acme", messages=[Message(role="user", content=parts)])
    for _ in range(2):
        assert codec.decode(codec.encode(large), RequestEvent) == large


def test_a_decimal_of_a_megabyte_is_refused_at_once(codec: Codec) -> None:
    body = codec.encode(RequestEvent(max_cost=Decimal("7e-9")))
    at = body.index(b"\x02\x02\x07") + 1
    hostile = body[:at] + zigzag(1 << 20) + b"\x7f" * (1 << 20) + body[at + 2 :]
    began = time.perf_counter()
    with pytest.raises(Invalid, match="a decimal of 1048576 bytes"):
        codec.decode(hostile, RequestEvent)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("cost", ["0.0000000001", "1000000000", "NaN", "Infinity"])
def test_a_cost_that_does_not_fit_is_an_error_of_the_writer(codec: Codec, cost: str) -> None:
    with pytest.raises(ValueError, match=r"decimal|digits"):
        codec.encode(RequestEvent(max_cost=Decimal(cost)))


@pytest.mark.parametrize("cost", ["0", "0E-20", "1E+3", "999999999.999999999", "-0.1", "0.1000000000000"])
def test_costs_that_fit_come_back_equal(codec: Codec, cost: str) -> None:
    record = RequestEvent(max_cost=Decimal(cost))
    assert codec.decode(codec.encode(record), RequestEvent).max_cost == Decimal(cost)
