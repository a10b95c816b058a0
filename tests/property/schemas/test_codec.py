"""Whatever a record holds comes back; whatever bytes come in, decoding ends with a record or with Invalid."""

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.codec import Codec
from schemas.records import RequestEvent, type_names
from schemas.registry import SchemaStore, UnknownSchemaId
from schemas.signals import Invalid
from tests.strategies import any_record, records

codec = Codec(SchemaStore())
EVERY_TYPE = tuple(type_names.values())
PREFIX = codec.encode(RequestEvent())[:10]


@settings(max_examples=300)
@given(any_record)
def test_a_record_comes_back_as_it_was(record: msgspec.Struct) -> None:
    assert codec.decode(codec.encode(record), type(record)) == record


def decoded(data: bytes) -> object:
    """The record in `data`, or the reason why there is none; any other exception fails the test."""
    try:
        return codec.decode(data, EVERY_TYPE)
    except Invalid as invalid:
        assert invalid.message
        return invalid.reason
    except UnknownSchemaId as unknown:
        return unknown.schema_id


@settings(max_examples=500)
@given(any_record, st.data())
def test_mutated_bytes_are_decoded_or_invalid(record: msgspec.Struct, data: st.DataObject) -> None:
    encoded = bytearray(codec.encode(record))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(encoded)))
        edit = data.draw(st.binary(max_size=12))
        encoded[at : at + data.draw(st.integers(0, 12))] = edit
    result = decoded(bytes(encoded))
    assert isinstance(result, (*EVERY_TYPE, str, int))


@settings(max_examples=500)
@given(st.binary(max_size=200))
@example(b"")
@example(b"\xff" * 200)
def test_any_bytes_are_decoded_or_invalid(body: bytes) -> None:
    for data in (body, PREFIX + body):
        assert isinstance(decoded(data), (*EVERY_TYPE, str, int))


@given(records(RequestEvent), st.binary(min_size=1, max_size=8))
def test_bytes_after_the_record_are_invalid(record: RequestEvent, rest: bytes) -> None:
    assert decoded(codec.encode(record) + rest) == "undecodable"
