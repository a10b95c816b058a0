"""Events of one version are read by another, and the schemas agree with the released ones and with the structs."""

import copy
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import pytest

from schemas import definitions, records
from schemas.codec import Codec
from schemas.definitions import UnusableSchema
from schemas.evolution import breaks, write_release
from schemas.records import ContentPart, Message, RequestEvent
from schemas.registry import SUBJECTS, SchemaStore
from schemas.signals import Invalid

REQUEST = RequestEvent(
    id="r1",
    tenant="acme",
    messages=[Message(role="user", content=[ContentPart(type="text", text="hello")])],
    max_cost=Decimal("0.25"),
    deadline_at=1_700_000_000_000,
)


def schema_of(name: str) -> dict[str, Any]:
    return copy.deepcopy(definitions.self_contained(f"sluice.{name}"))


def written_with(schema: dict[str, Any], values: dict[str, Any]) -> bytes:
    """`values` in Confluent wire format, schema id 7."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), values)
    return b"\x00\x00\x00\x00\x07" + out.getvalue()


def read_as_id_7(schema: dict[str, Any], data: bytes) -> RequestEvent:
    store = SchemaStore()
    store.add(7, schema)
    return Codec(store).decode(data, RequestEvent)


def test_an_older_writer_is_read_with_defaults() -> None:
    """A publisher that knows only the smallest request, with its fields in an order of its own."""
    schema = schema_of("RequestEvent")
    fields = {f["name"]: f for f in schema["fields"]}
    schema["fields"] = [fields["prompt"], fields["id"], fields["tenant"]]
    data = written_with(schema, {"id": "r1", "tenant": "acme", "prompt": "hello"})
    assert read_as_id_7(schema, data) == RequestEvent(id="r1", tenant="acme", prompt="hello")


def test_a_newer_writer_is_read_without_its_new_fields() -> None:
    schema = schema_of("RequestEvent")
    new = {"name": "shade", "type": {"type": "array", "items": ["null", "string", "long"]}, "default": []}
    schema["fields"].insert(2, new)
    part = schema["fields"][4]["type"]["items"]["fields"][1]["type"]["items"]
    assert part["name"] == "ContentPart"
    part["fields"].insert(0, {"name": "weight", "type": "double", "default": 1.0})
    values = msgspec.to_builtins(REQUEST, builtin_types=(bytes, Decimal)) | {"shade": ["a", None, 3]}
    assert read_as_id_7(schema, written_with(schema, values)) == REQUEST


def test_a_newer_event_is_read_by_an_older_version() -> None:
    """The reverse direction of the test before: bytes of today, read with a schema that knows less."""
    older = schema_of("RequestEvent")
    older["fields"] = [f for f in older["fields"] if f["name"] in ("id", "tenant", "messages")]
    codec = Codec(SchemaStore())
    today = codec.store.readers["sluice.RequestEvent"]
    read: Any = fastavro.schemaless_reader(
        io.BytesIO(codec.encode(REQUEST)[10:]), today, fastavro.parse_schema(older)
    )
    assert (read["id"], read["tenant"], read["messages"][0]["content"][0]["text"]) == ("r1", "acme", "hello")
    assert set(read) == {"id", "tenant", "messages"}


def test_another_namespace_and_plain_types_are_read() -> None:
    """A publisher that generated its classes under a package of its own, without logical types."""
    schema = {
        "type": "record",
        "name": "RequestEvent",
        "namespace": "com.acme.events",
        "fields": [
            {"name": "tenant", "type": "string"},
            {"name": "prompt", "type": ["string", "null"]},
            {"name": "deadline_at", "type": "long"},
            {"name": "target_latency_ms", "type": ["null", "int"]},
        ],
    }
    values = {"tenant": "acme", "prompt": "hello", "deadline_at": 5, "target_latency_ms": 6}
    expected = RequestEvent(tenant="acme", prompt="hello", deadline_at=5, target_latency_ms=6)
    assert read_as_id_7(schema, written_with(schema, values)) == expected


def test_texts_and_bytes_are_promoted_to_each_other() -> None:
    """As Avro's schema resolution allows; and a union with its branches the other way round."""
    part = {
        "type": "record",
        "name": "ContentPart",
        "fields": [{"name": "type", "type": "bytes"}, {"name": "data", "type": ["string", "null"]}],
    }
    schema = {
        "type": "record",
        "name": "RequestEvent",
        "fields": [
            {"name": "tenant", "type": "bytes"},
            {"name": "content", "type": {"type": "array", "items": part}},
            {"name": "quality_floor", "type": "int"},
        ],
    }
    values = {"tenant": b"acme", "content": [{"type": b"image", "data": "xyz"}], "quality_floor": 1}
    expected = RequestEvent(
        tenant="acme", content=[ContentPart(type="image", data=b"xyz")], quality_floor=1.0
    )
    assert read_as_id_7(schema, written_with(schema, values)) == expected


def test_an_unrelated_schema_is_an_unexpected_type() -> None:
    schema = {"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}]}
    with pytest.raises(Invalid, match=r"the event is a Order; this topic takes sluice\.RequestEvent"):
        read_as_id_7(schema, written_with(schema, {"id": "r1"}))


def test_a_schema_whose_types_do_not_fit_is_invalid() -> None:
    schema = {"type": "record", "name": "RequestEvent", "fields": [{"name": "tenant", "type": "long"}]}
    with pytest.raises(Invalid) as caught:
        read_as_id_7(schema, written_with(schema, {"tenant": 3}))
    assert caught.value.reason == "undecodable"


def _record(*types: Any) -> dict[str, Any]:
    fields = [{"name": f"f{i}", "type": t} for i, t in enumerate(types)]
    return {"type": "record", "name": "RequestEvent", "fields": fields}


def _nested(depth: int) -> Any:
    return {"type": "array", "items": _nested(depth - 1)} if depth else "int"


_CHAIN: list[Any] = [{"type": "record", "name": "R0", "fields": []}] + [
    {"type": "record", "name": f"R{i}", "fields": [{"name": "x", "type": f"R{i - 1}"}]} for i in range(1, 80)
]


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (_record(["null", "RequestEvent"]), "contains itself"),
        (_record({"type": "array", "items": "null"}), "take no bytes"),
        (_record({"type": "array", "items": {"type": "record", "name": "E", "fields": []}}), "take no bytes"),
        (_record(_nested(80)), "deeper than 64"),
        (_record(*_CHAIN), "deeper than 64"),
        ({"type": "record", "fields": []}, "not a valid Avro schema"),
        ("string", "not a record"),
        (_record("nonsense"), "not a valid Avro schema"),
        (7, "not a valid Avro schema"),
    ],
)
def test_a_schema_that_could_not_be_read_safely_is_refused(schema: Any, why: str) -> None:
    with pytest.raises(UnusableSchema, match=why):
        SchemaStore().writer(schema)


def test_every_released_schema_is_fully_compatible() -> None:
    released = definitions.released()
    assert {name for _, name in released} <= set(SUBJECTS.values())
    for (version, name), schema in released.items():
        assert breaks(schema, definitions.self_contained(name)) == [], f"{name} against release {version}"


def test_a_release_keeps_todays_schemas(tmp_path: Path) -> None:
    files = write_release("9.9.9", tmp_path)
    assert {file.name for file in files} == {f"{name}.json" for name in SUBJECTS.values()}
    assert all(json.loads(f.read_text()) == definitions.self_contained(f.stem) for f in files)
    with pytest.raises(FileExistsError):
        write_release("9.9.9", tmp_path)


def test_events_of_a_released_version_are_read_without_a_registry() -> None:
    store = SchemaStore()
    for (_, name), schema in definitions.released().items():
        fingerprint = definitions.crc64(definitions.canonical(schema))
        assert store.by_fingerprint(fingerprint).name == name


def _change(edit: Any) -> list[str]:
    new = schema_of("RequestEvent")
    edit(new["fields"])
    return breaks(schema_of("RequestEvent"), new)


def test_breaking_changes_are_found() -> None:
    text = {"name": "more", "type": "string"}
    assert _change(lambda fields: fields.append({**text, "default": ""})) == []
    assert _change(lambda fields: fields.pop(2)) == []
    assert _change(lambda fields: fields.append(text)) == ["more: a field without a default was added"]
    assert _change(lambda fields: fields[0].pop("default")) == ["id: the default was removed"]
    assert _change(lambda fields: fields[0].update(type="bytes")) == ["id: the type is bytes, was string"]
    assert _change(lambda fields: fields[2]["type"].append("long")) == [
        "prompt: the union has 3 branches, had 2"
    ]
    role = _change(lambda fields: fields[3]["type"]["items"]["fields"].pop(0))
    assert role == ["messages[].role: a field without a default was removed"]


STRUCTS = {
    name: t for name, t in vars(records).items() if isinstance(t, type) and issubclass(t, msgspec.Struct)
}
STRUCTS.pop("Struct", None)


def test_each_record_has_a_schema_and_a_struct() -> None:
    assert {f"sluice.{name}" for name in STRUCTS} == set(definitions.bundled())


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


_MATCHING = {"string": str, "long": int, "int": int, "double": float, "boolean": bool, "bytes": bytes}


def _type_of(schema: Any) -> Any:
    """The Python type of an Avro type, as records.py writes it."""
    if isinstance(schema, list):
        assert schema[0] == "null" and len(schema) == 2
        return _type_of(schema[1]) | None
    if isinstance(schema, str):
        return _MATCHING.get(schema) or STRUCTS[schema.removeprefix("sluice.")]
    if schema["type"] == "array":
        return list[_type_of(schema["items"])]  # type: ignore[misc]
    if schema["type"] == "map":
        return dict[str, _type_of(schema["values"])]  # type: ignore[misc]
    if schema.get("logicalType") == "decimal":
        assert (schema["precision"], schema["scale"]) == (18, 9)
        return Decimal
    return _type_of(schema["type"])


@pytest.mark.parametrize("name", sorted(STRUCTS))
def test_the_struct_is_the_schema(name: str) -> None:
    fields = {field.encode_name: field for field in msgspec.structs.fields(STRUCTS[name])}
    schema = definitions.bundled()[f"sluice.{name}"]
    assert {f["name"] for f in schema["fields"]} == set(fields)
    for avro in schema["fields"]:
        field = fields[avro["name"]]
        assert field.type == _type_of(avro["type"]), avro["name"]
        assert avro.get("default", msgspec.NODEFAULT) == _default(field), avro["name"]
        assert avro["doc"].endswith("."), f"{name}.{avro['name']} is not documented"
