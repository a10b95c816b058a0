"""The compiled codec against fastavro: the same bytes, the same records, the same bytes refused."""

import struct
from decimal import Decimal
from io import BytesIO
from typing import Any

import fastavro
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import logical
from schemas.codec import Codec
from schemas.records import type_names
from schemas.registry import SchemaStore
from schemas.signals import Invalid
from tests.strategies import any_record

codec = Codec(SchemaStore())
NAMES = {record_type: name for name, record_type in type_names.items()}
FRAME = 10
STRICTER = ("ten bytes", "64 bits", "32 bits", "no branch -")
"""What fastavro accepts and Avro doesn't: longer numbers, of which it drops bits, ints that are longs, and branches
counted from a union's end."""


def written_by_fastavro(record: msgspec.Struct) -> bytes:
    out = BytesIO()
    values = msgspec.to_builtins(record, builtin_types=(bytes, Decimal))
    fastavro.schemaless_writer(out, codec.store.readers[NAMES[type(record)]], values)
    return out.getvalue()


def read_by_fastavro(body: bytes, record_type: type[msgspec.Struct]) -> msgspec.Struct | None:
    """The record, None where there is none."""
    source = BytesIO(body)
    logical.start_event()
    try:
        values = fastavro.schemaless_reader(source, codec.store.readers[NAMES[record_type]])
        record = msgspec.convert(values, record_type)
    except Exception:
        return None
    return record if source.tell() == len(body) else None


def exact(record: msgspec.Struct) -> bytes:
    """What tells 1 from True and 1.0, the order of a map, a decimal's exponent, and holds NaN equal to NaN."""
    return msgspec.msgpack.encode(record)


def thinned(value: Any, kept: set[int]) -> Any:
    """`value` with the default in every field that has one, but for those of the numbers in `kept`."""
    if isinstance(value, list):
        return [thinned(item, kept) for item in value]
    if not isinstance(value, msgspec.Struct):
        return value
    given = {
        field.name: thinned(getattr(value, field.name), kept)
        for number, field in enumerate(msgspec.structs.fields(value))
        if field.required or number in kept
    }
    return type(value)(**given)


sparse_record = st.builds(thinned, any_record, st.sets(st.integers(0, 40), max_size=6))
some_record = any_record | sparse_record


@settings(max_examples=300)
@given(some_record)
def test_the_bytes_are_fastavros_and_read_as_fastavro_reads_them(record: msgspec.Struct) -> None:
    encoded = codec.encode(record)
    assert encoded[FRAME:] == written_by_fastavro(record)
    expected = read_by_fastavro(encoded[FRAME:], type(record))
    assert expected is not None
    assert exact(codec.decode(encoded, type(record))) == exact(expected)


@settings(max_examples=700)
@given(some_record, st.data())
def test_mutated_bytes_are_read_or_refused_as_by_fastavro(
    record: msgspec.Struct, data: st.DataObject
) -> None:
    body = bytearray(codec.encode(record)[FRAME:])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    check_agree(type(record), bytes(body))


@settings(max_examples=200)
@given(some_record, st.data())
def test_truncated_bytes_are_refused(record: msgspec.Struct, data: st.DataObject) -> None:
    body = codec.encode(record)[FRAME:]
    check_agree(type(record), body[: data.draw(st.integers(0, len(body) - 1))])


def check_agree(record_type: type[msgspec.Struct], body: bytes) -> None:
    expected = read_by_fastavro(body, record_type)
    frame = b"\xc3\x01" + codec.store.fingerprints[NAMES[record_type]]
    try:
        record = codec.decode(frame + body, record_type)
    except Invalid as invalid:
        assert invalid.reason == "undecodable"
        assert invalid.__cause__ is None or isinstance(
            invalid.__cause__, (IndexError, struct.error, ValueError)
        )
        assert expected is None or any(why in invalid.message for why in STRICTER)
    else:
        assert expected is not None
        assert exact(record) == exact(expected)


misfits = st.sampled_from(
    [
        None, True, False, 0, 1, -1, 1 << 31, -(1 << 31) - 1, 1 << 63, 10**400, 1.5, "", "x", "\ud800", b"", b"x",
        [], [None], ["x"], [1], (), ("x",), {}, {1: "x"}, {"x": None}, {"x": 1}, {"x": "y"}, {"\udfff": "x"},
        Decimal(1), Decimal("1e-10"), Decimal("1e9"), Decimal("NaN"), Decimal("Infinity"), object(),
    ]
)  # fmt: skip


def structs_in(value: Any) -> list[msgspec.Struct]:
    if isinstance(value, list):
        return [found for item in value for found in structs_in(item)]
    if not isinstance(value, msgspec.Struct):
        return []
    inner = [getattr(value, name) for name in value.__struct_fields__]
    return [value, *structs_in(inner)]


@settings(max_examples=800)
@given(some_record, misfits, st.data())
def test_a_value_is_written_as_fastavro_writes_it_or_named(
    record: msgspec.Struct, value: Any, data: st.DataObject
) -> None:
    """Nothing is ever written that the schema doesn't mean, whatever the types say."""
    changed = data.draw(st.sampled_from(structs_in(record)))
    field = data.draw(st.sampled_from(changed.__struct_fields__))
    setattr(changed, field, value)
    try:
        encoded = codec.encode(record)
    except (TypeError, ValueError) as error:
        assert f".{field}" in str(error)
    else:
        assert encoded[FRAME:] == written_by_fastavro(record)
        assert codec.encode(codec.decode(encoded, type(record))) == encoded
