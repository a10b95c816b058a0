"""Where the compiled codec takes another path: the widths of numbers, lengths and blocks; and what doesn't fit."""

import time
from collections.abc import Callable
from decimal import Decimal
from io import BytesIO
from typing import Any

import fastavro
import msgspec
import pytest

from schemas import logical
from schemas.codec import Codec
from schemas.compiled.shapes import fields_of
from schemas.records import AuditEvent, ContentPart, DeadLetter, Feedback, Message, Parameters, RequestEvent
from schemas.registry import SchemaStore
from schemas.signals import Invalid
from tests.unit.schemas.test_codec import zigzag

codec = Codec(SchemaStore())
LONGS = sorted({sign * (1 << bits) + by for bits in range(63) for sign in (1, -1) for by in (-1, 0, 1)})
LONGS += [(1 << 63) - 1, -(1 << 63)]


def audit(**fields: Any) -> AuditEvent:
    given: dict[str, Any] = dict(
        event_id="e",
        tenant="acme",
        action="a",
        actor="b",
        at=1,
        config_version="v",
        sequence=1,
        previous_hash=b"",
    )
    return AuditEvent(**given | fields)


def body_of(record: msgspec.Struct) -> bytes:
    return codec.encode(record)[10:]


def framed(body: bytes, name: str = "RequestEvent") -> bytes:
    return b"\xc3\x01" + codec.store.fingerprints[f"sluice.{name}"] + body


def written_by_fastavro(record: msgspec.Struct) -> bytes:
    out = BytesIO()
    values = msgspec.to_builtins(record, builtin_types=(bytes, Decimal))
    fastavro.schemaless_writer(out, codec.store.readers[f"sluice.{type(record).__name__}"], values)
    return out.getvalue()


def check_both_ways(record: msgspec.Struct) -> None:
    assert body_of(record) == written_by_fastavro(record)
    assert codec.decode(codec.encode(record), type(record)) == record


@pytest.mark.parametrize("field", ["sequence", "at", "accepted_at"])
def test_numbers_of_every_width(field: str) -> None:
    for number in LONGS:
        check_both_ways(audit(**{field: number}))


def test_ints_of_every_width() -> None:
    for number in [n for n in LONGS if -(1 << 31) <= n < 1 << 31]:
        check_both_ways(audit(attempt=number))


@pytest.mark.parametrize("length", [0, 1, 63, 64, 1023, 1024, 8191, 8192, (1 << 20) - 1, 1 << 20])
@pytest.mark.parametrize("letter", ["x", "é", "€"])
def test_texts_of_every_length(length: int, letter: str) -> None:
    text = letter * length
    check_both_ways(RequestEvent(id=text, prompt=text, tags=[text], metadata={text: text}))
    check_both_ways(audit(previous_hash=text.encode()))


@pytest.mark.parametrize("items", [1, 63, 64, 1024, 5000])
def test_arrays_and_maps_of_every_length(items: int) -> None:
    texts = [str(n) for n in range(items)]
    parts = [ContentPart(type="text", text=text) for text in texts]
    check_both_ways(RequestEvent(tags=texts, content=parts, metadata=dict(zip(texts, texts, strict=True))))


@pytest.mark.parametrize("nano", [1, 9, 127, 128, 255, 256, *(10**n for n in range(2, 18)), 10**18 - 1])
def test_decimals_of_every_length(nano: int) -> None:
    for unscaled in (nano, -nano):
        check_both_ways(RequestEvent(max_cost=Decimal(unscaled).scaleb(-9)))


def test_each_field_alone() -> None:
    """Whatever stands in a run that is passed at once is written and read when it is the only one set."""
    values = {
        "string": "x", "bytes": b"x", "boolean": True, "int": 7, "long": 7, "time": 1 << 40, "double": 0.5,
        "decimal": Decimal("1.5"), "array": ["x"], "map": {"x": "y"},
    }  # fmt: skip
    for field in fields_of(RequestEvent):
        of_records = field.shape.item is not None and field.shape.item.kind == "record"
        if field.shape.kind != "record" and not of_records:
            check_both_ways(RequestEvent(**{field.attribute: values[field.shape.kind]}))


def blocks(form: Callable[[list[bytes]], bytes], *items: bytes) -> bytes:
    """The items as blocks of one and of the rest."""
    return form([items[0]]) + form(list(items[1:])) + b"\0"


def counted(items: list[bytes]) -> bytes:
    return zigzag(len(items)) + b"".join(items)


def sized(items: list[bytes]) -> bytes:
    return zigzag(-len(items)) + zigzag(sum(map(len, items))) + b"".join(items)


def padded(items: list[bytes]) -> bytes:
    """The count with more bytes than it needs."""
    return bytes([len(items) << 1 | 0x80, 0x80, 0]) + b"".join(items)


@pytest.mark.parametrize("form", [counted, sized, padded])
def test_arrays_and_maps_in_blocks_of_any_form(form: Callable[[list[bytes]], bytes]) -> None:
    record = Feedback(request_id="r", tenant="t", at=1, metadata={"a": "b", "c": "d", "e": "f"})
    whole = counted([b"\2a\2b", b"\2c\2d", b"\2e\2f"]) + b"\0"
    assert body_of(record).endswith(whole)
    apart = body_of(record)[: -len(whole)] + blocks(form, b"\2a\2b", b"\2c\2d", b"\2e\2f")
    assert codec.decode(framed(apart, "Feedback"), Feedback) == record

    request = RequestEvent(tags=["a", "b", "c"])
    body = body_of(request).replace(
        counted([b"\2a", b"\2b", b"\2c"]) + b"\0", blocks(form, b"\2a", b"\2b", b"\2c")
    )
    assert len(body) > len(body_of(request))
    assert codec.decode(framed(body), RequestEvent) == request

    parts = [ContentPart(type=kind) for kind in "abc"]
    nulls = len(fields_of(ContentPart)) - 1
    items = [b"\2" + kind.encode() + bytes(nulls) for kind in "abc"]
    message = RequestEvent(messages=[Message(role="user", content=parts)])
    body = body_of(message).replace(counted(items) + b"\0", blocks(form, *items))
    assert len(body) > len(body_of(message))
    assert codec.decode(framed(body), RequestEvent) == message


def test_numbers_with_more_bytes_than_they_need() -> None:
    """Branches, lengths and the ends of arrays as well; all that follows the tenant is null or empty."""
    body = body_of(RequestEvent(id="ab", prompt="cd"))
    assert body.startswith(b"\x04ab\x00\x02\x04cd\x00")
    padded = b"\x84\x00ab\x80\x00\x82\x80\x00\x84\x80\x80\x00cd\x80\x00\x80\x00" + body[10:]
    assert codec.decode(framed(padded), RequestEvent) == RequestEvent(id="ab", prompt="cd")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"\x80" * 11 + b"\x00", "more than ten bytes"),
        (b"\xff" * 9 + b"\x02", "more than 64 bits"),
        (b"\x01", "a length is -1"),
        (b"\xff\x01", "a length is -128"),
        (b"\x80\x80\x80\x08", "a length is 8388608, but 9 bytes are left"),
        (b"\x02\xff", "can't decode byte 0xff"),
        (b"\x00\x00\x04", "no branch 2"),
        (b"\x00\x00\x01", "no branch -1"),
        (b"\x00\x7ea", "they end too early"),
        (b"\x00\x00\x00" + b"\xff" * 9 + b"\x01\x00" + bytes(50), "more than 20000 records"),
    ],
)
def test_what_avro_does_not_allow_is_refused_with_the_reason(body: bytes, why: str) -> None:
    with pytest.raises(Invalid, match=why) as caught:
        codec.decode(framed(body + bytes(9)), RequestEvent)
    assert caught.value.reason == "undecodable"


def test_a_text_that_reaches_beyond_the_event_ends_too_early() -> None:
    letter = DeadLetter(
        id="i", kind="event", stage="s", reason="r", message="m", at=1, source_topic="t", source_partition=1,
        source_offset=1, source_timestamp=1, request_id="r1",
    )  # fmt: skip
    with pytest.raises(Invalid, match="end too early"):
        codec.decode(codec.encode(letter)[:-1], DeadLetter)


def test_each_record_counts() -> None:
    """The request itself, the parts and their message, and the parameters: one more than is allowed."""
    parts = [ContentPart(type="")] * (logical.MAX_RECORDS - 2)
    request = RequestEvent(messages=[Message(role="user", content=parts)])
    assert codec.decode(codec.encode(request), RequestEvent) == request
    request.parameters = Parameters()
    with pytest.raises(Invalid, match="more than 20000 records"):
        codec.decode(codec.encode(request), RequestEvent)


def test_an_int_of_more_than_32_bits_is_refused() -> None:
    body = body_of(audit(attempt=7))
    at = body.index(b"\x02\x0e")
    with pytest.raises(Invalid, match="has more than 32 bits"):
        codec.decode(framed(body[:at] + b"\x02" + zigzag(1 << 31) + body[at + 2 :], "AuditEvent"), AuditEvent)


@pytest.mark.parametrize("block", [zigzag(-(1 << 63)) + b"\0", zigzag((1 << 63) - 1)])
def test_blocks_of_endless_items_end_with_the_event(block: bytes) -> None:
    """Tags by the million for as long as there are bytes, and not one more."""
    body = body_of(RequestEvent())
    began = time.perf_counter()
    with pytest.raises(Invalid, match="end too early"):
        codec.decode(framed(body[:15] + block + bytes(1 << 20)), RequestEvent)
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize(
    ("record", "error", "says"),
    [
        (audit(attempt=1 << 31), ValueError, r"AuditEvent\.attempt: 2147483648 has more than 32 bits"),
        (audit(sequence=1 << 63), ValueError, r"AuditEvent\.sequence: .* more than 64 bits"),
        (audit(at=True), TypeError, r"AuditEvent\.at: a bool where the schema has time"),
        (audit(tenant=None), TypeError, r"AuditEvent\.tenant: a NoneType where the schema has string"),
        (audit(details=b"x"), TypeError, r"AuditEvent\.details: a bytes where the schema has string"),
        (audit(reason="\ud800"), ValueError, r"AuditEvent\.reason: .*surrogates not allowed"),
        (audit(previous_hash="x"), TypeError, r"AuditEvent\.previous_hash: a str where the schema has bytes"),
        (audit(data_classes="pii"), TypeError, r"AuditEvent\.data_classes: a str where .* array"),
        (audit(data_classes=["a", 1]), TypeError, r"AuditEvent\.data_classes\[1\]: a int where .* string"),
        (audit(metadata={1: "x"}), TypeError, r"AuditEvent\.metadata, a key: a int where .* string"),
        (audit(metadata={"x": None}), TypeError, r"AuditEvent\.metadata\['x'\]: a NoneType where .* string"),
        (RequestEvent(stream_deltas=1), TypeError, r"RequestEvent\.stream_deltas: a int where .* boolean"),
        (RequestEvent(max_cost=1.5), TypeError, r"RequestEvent\.max_cost: a float where .* decimal or null"),
        (RequestEvent(parameters={}), TypeError, r"RequestEvent\.parameters: a dict where .* Parameters or null"),
        (RequestEvent(content=[Message(role="x")]), TypeError, r"RequestEvent\.content\[0\]: a Message where"),
        (RequestEvent(parameters=Parameters(top_p="1")), TypeError, r"parameters\.top_p: a str where .* double"),
        (RequestEvent(parameters=Parameters(top_p=10**400)), ValueError, r"parameters\.top_p: .*too large"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_named(
    record: msgspec.Struct, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        codec.encode(record)
