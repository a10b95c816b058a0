"""What the compilers know of a record: its fields, read from the bundled `.avsc` files, and their struct's defaults."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from typing import Any, Final, Literal, get_args

import msgspec

from schemas import definitions, records

Kind = Literal[
    "string", "bytes", "boolean", "int", "long", "time", "double", "decimal", "array", "map", "record"
]  # fmt: skip

_PRIMITIVES: Final = frozenset(get_args(Kind)) - {"time", "decimal", "array", "map", "record"}
_OFTEN_SET: Final = frozenset((
    "application", "cost", "deployment", "features", "finish_reason", "issued_at", "lane", "max_tokens", "metadata",
    "model", "output", "parameters", "prompt", "provider", "raw", "request_id", "started_at", "status", "task",
    "task_type", "temperature", "text", "timings", "usage", "vendor_model",
))  # fmt: skip
"""Fields that most events set. They stay out of the runs below; nothing but speed hangs on it."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The type of a value. `item` is what an array or a map holds; precision and scale are a decimal's."""

    kind: Kind
    nullable: bool = False
    item: "Shape | None" = None
    record: type[msgspec.Struct] = msgspec.Struct
    precision: int = 0
    scale: int = 0

    @property
    def inner(self) -> "Shape":
        """The shape of an array's items or of a map's values."""
        assert self.item is not None
        return self.item

    @property
    def value(self) -> "Shape":
        """The same without null."""
        return replace(self, nullable=False)


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a record, and the struct's attribute that holds it.

    `sparse`: the byte 00 is what the struct has by default (null, false, nothing in an array or a map), so that
    a reader has nothing to do for it. `required`: the struct has no default.
    """

    attribute: str
    shape: Shape
    sparse: bool
    required: bool


@cache
def fields_of(record_type: type[msgspec.Struct]) -> tuple[Field, ...]:
    """The fields in the order of their bytes. Raises TypeError for a type of Avro that isn't compiled."""
    schema = definitions.bundled()[f"{definitions.NAMESPACE}.{record_type.__name__}"]
    known = {info.encode_name: info for info in msgspec.structs.fields(record_type)}
    return tuple(_field(known[field["name"]], _shape(field["type"])) for field in schema["fields"])


def runs(fields: Sequence[Field]) -> list[list[Field]]:
    """The fields in order; those that stand together and are seldom set, so that all can be passed at once."""
    alone = {f.attribute: n for n, f in enumerate(fields) if not f.sparse or f.attribute in _OFTEN_SET}
    return [list(run) for _, run in groupby(fields, key=lambda f: alone.get(f.attribute, -1))]


def _field(info: msgspec.structs.FieldInfo, shape: Shape) -> Field:
    empty: object = msgspec.NODEFAULT
    default = info.default
    if shape.nullable:
        empty = None
    elif shape.kind == "boolean":
        empty = False
    elif shape.kind in ("array", "map"):
        empty, default = {"array": list, "map": dict}[shape.kind], info.default_factory
    sparse = empty is not msgspec.NODEFAULT and default is empty
    return Field(info.name, shape, sparse, info.required)


def _shape(schema: Any) -> Shape:
    if isinstance(schema, list):
        if len(schema) != 2 or schema[0] != "null" or isinstance(schema[1], list):
            raise TypeError(f"the compiled codec knows no union but of null and another type: {schema}")
        return replace(_shape(schema[1]), nullable=True)
    if isinstance(schema, str):
        if schema in _PRIMITIVES:
            return Shape(schema)  # type: ignore[arg-type]
        space, _, name = schema.rpartition(".")
        if space == definitions.NAMESPACE:
            return Shape("record", record=getattr(records, name))
    elif isinstance(schema, Mapping):
        return _complex(schema)
    raise TypeError(f"the compiled codec doesn't know the Avro type {schema}: add it in schemas/compiled")


def _complex(schema: Mapping[str, Any]) -> Shape:
    match schema:
        case {"type": "array", "items": items}:
            return Shape("array", item=_item(items))
        case {"type": "map", "values": values}:
            return Shape("map", item=_item(values))
        case {"type": "long", "logicalType": "timestamp-millis"}:
            return Shape("time")
        case {"type": "bytes", "logicalType": "decimal", "precision": precision}:
            return Shape("decimal", precision=int(precision), scale=int(schema.get("scale", 0)))
    raise TypeError(f"the compiled codec doesn't know the Avro type {schema}: add it in schemas/compiled")


def _item(schema: Any) -> Shape:
    shape = _shape(schema)
    if shape.nullable:
        raise TypeError(f"the compiled codec knows no null in an array or a map: {schema}")
    return shape
