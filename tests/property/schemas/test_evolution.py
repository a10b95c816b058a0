"""Any version that the compatibility check permits reads today's events, and is read by today's code.

Versions are generated: of today's schema, at any depth, fields with a default are dropped, others are added with a
default, and the order is another.
"""

import copy
import io
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import fastavro
import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import definitions
from schemas.codec import Codec
from schemas.evolution import breaks
from schemas.records import type_names
from schemas.registry import SchemaStore
from tests.strategies import records

# The type of a field that another version has, its default, and a value that a writer of it may give.
ADDED: Final[tuple[tuple[Any, Any, Any], ...]] = (
    ("string", "", "é"),
    (["null", "long"], None, -5),
    ("double", 1.0, 0.5),
    ("boolean", False, True),
    (["null", "bytes"], None, b"\x00\xff"),
    ({"type": "array", "items": ["null", "string"]}, [], ["a", None]),
    ({"type": "map", "values": "int"}, {}, {"k": 7}),
)
_ID: Final = 7
codec = Codec(SchemaStore())
TODAY: Final = {name: definitions.self_contained(name) for name in type_names}
Schema = Any


def version(name: str, seed: int) -> Schema:
    """Another version of a record's schema. By a seed: hypothesis would take minutes to shrink so large a choice."""
    rng = random.Random(seed)
    schema = copy.deepcopy(TODAY[name])
    defined = _records(schema)
    for record in defined:
        fields = [f for f in record["fields"] if "default" not in f or rng.random() < 0.75]
        for number in rng.sample(range(len(ADDED)), rng.randrange(3)):
            fields.append({"name": f"added_{number}", "type": ADDED[number][0], "default": ADDED[number][1]})
        record["fields"] = rng.sample(fields, len(fields))
    return _named_once(schema, {definitions.full_name(record): record for record in defined}, {})


def _records(schema: Schema) -> list[dict[str, Any]]:
    """Every record that is defined in a schema."""
    if isinstance(schema, list):
        return [found for branch in schema for found in _records(branch)]
    if not isinstance(schema, dict):
        return []
    own = [schema] if "fields" in schema else []
    inner = [f["type"] for f in schema.get("fields", ())]
    inner += [schema[part] for part in ("items", "values") if part in schema]
    return own + [found for part in inner for found in _records(part)]


def _named_once(schema: Schema, known: dict[str, Schema], seen: dict[str, Schema]) -> Schema:
    """The same schema, each record defined where it is named first: that was another place, or has been dropped."""

    def place(part: Schema) -> Schema:
        if isinstance(part, list):
            return [place(branch) for branch in part]
        if isinstance(part, str):
            return part if part in seen or part not in known else place(known[part])
        name = definitions.full_name(part) if "fields" in part else ""
        if name in seen:
            return name
        placed = dict(part)
        if name:
            seen[name] = placed
            placed["fields"] = [{**f, "type": place(f["type"])} for f in part["fields"]]
        for inner in ("items", "values"):
            if inner in placed:
                placed[inner] = place(placed[inner])
        return placed

    return place(schema)


Missing = Callable[[dict[str, Any]], Any]


def as_read(value: Any, writer: Schema, reader: Schema, missing: Missing) -> Any:
    """A value of the writer's schema as the reader has it; `missing` gives fields that the writer hasn't."""
    theirs = {definitions.full_name(r): r for r in _records(writer)}
    ours = {definitions.full_name(r): r for r in _records(reader)}

    def read(part: Any, was: Schema, now: Schema) -> Any:
        was = theirs.get(was, was) if isinstance(was, str) else was
        now = ours.get(now, now) if isinstance(now, str) else now
        if isinstance(was, list):
            return None if part is None else read(part, was[1], now[1])
        if not isinstance(was, dict):
            return part
        match was["type"]:
            case "record":
                known = {f["name"]: f for f in was["fields"]}
                return {
                    f["name"]: read(part[f["name"]], known[f["name"]]["type"], f["type"])
                    if f["name"] in known
                    else missing(f)
                    for f in now["fields"]
                }
            case "array":
                return [read(item, was["items"], now["items"]) for item in part]
            case "map":
                return {key: read(item, was["values"], now["values"]) for key, item in part.items()}
            case _:
                return part

    return read(value, writer, reader)


def default(field: dict[str, Any]) -> Any:
    """What a reader puts for a field that the writer doesn't know."""
    return copy.deepcopy(field["default"])


def sample(field: dict[str, Any]) -> Any:
    """What a writer puts into a field of its own."""
    name, _, number = field["name"].rpartition("_")
    return ADDED[int(number)][2] if name == "added" else default(field)


def fields_of(record: msgspec.Struct) -> Any:
    return msgspec.to_builtins(record, builtin_types=(bytes, Decimal))


def plain(schema: Schema) -> Schema:
    """The schema with times as numbers, as our records hold them."""
    if isinstance(schema, list):
        return [plain(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("logicalType") == "timestamp-millis":
        return schema["type"]
    parts = {k: plain(v) for k, v in schema.items() if k in ("type", "items", "values")}
    more = {"fields": [{**f, "type": plain(f["type"])} for f in schema["fields"]]} if "fields" in schema else {}
    return {**schema, **parts, **more}


NAMED = st.sampled_from(sorted(type_names)).flatmap(
    lambda name: st.tuples(st.just(name), st.integers(0, 10**6), records(type_names[name]))
)


@settings(max_examples=60)
@given(NAMED)
def test_todays_code_reads_any_version(case: tuple[str, int, msgspec.Struct]) -> None:
    name, seed, record = case
    other = version(name, seed)
    assert breaks(TODAY[name], other) == []
    written = as_read(fields_of(record), TODAY[name], other, sample)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(plain(other)), written)
    store = SchemaStore()
    store.add(_ID, other)
    found = Codec(store).decode(b"\0" + _ID.to_bytes(4, "big") + out.getvalue(), type(record))
    assert fields_of(found) == as_read(written, other, TODAY[name], default)


@settings(max_examples=60)
@given(NAMED)
def test_any_version_reads_todays_events(case: tuple[str, int, msgspec.Struct]) -> None:
    name, seed, record = case
    other = version(name, seed)
    source = io.BytesIO(codec.encode(record)[10:])
    ours, theirs = fastavro.parse_schema(plain(TODAY[name])), fastavro.parse_schema(plain(other))
    found = fastavro.schemaless_reader(source, ours, theirs)
    assert source.read() == b""
    assert found == as_read(fields_of(record), TODAY[name], other, default)
