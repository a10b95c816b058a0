"""Hypothesis strategies shared by the property tests."""

from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import strategies as st

from schemas import definitions
from schemas.records import type_names

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
int32 = st.integers(-(2**31), 2**31 - 1)
int64 = st.integers(-(2**63), 2**63 - 1)
costs = st.integers(-(10**18) + 1, 10**18 - 1).map(lambda nano: Decimal(nano).scaleb(-9))
_primitives: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": int32,
    "long": int64,
    "double": st.floats(allow_nan=False),
    "string": texts,
    "bytes": st.binary(max_size=20),
}


def values_of(schema: Any) -> st.SearchStrategy[Any]:
    """Values that fit a bundled Avro schema; records are dicts."""
    if isinstance(schema, list):
        return st.one_of([values_of(branch) for branch in schema])
    if isinstance(schema, str):
        return _primitives[schema] if schema in _primitives else values_of(definitions.bundled()[schema])
    match schema["type"]:
        case "array":
            return st.lists(values_of(schema["items"]), max_size=2)
        case "map":
            return st.dictionaries(texts, values_of(schema["values"]), max_size=2)
        case "record":
            return st.fixed_dictionaries({f["name"]: values_of(f["type"]) for f in schema["fields"]})
        case _:
            return costs if schema.get("logicalType") == "decimal" else values_of(schema["type"])


def records(record_type: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Arbitrary records of one type: each as its schema allows, whether or not it makes sense."""
    schema = definitions.bundled()[f"sluice.{record_type.__name__}"]
    return values_of(schema).map(lambda values: msgspec.convert(values, record_type))


any_record = st.sampled_from(sorted(type_names.items())).flatmap(lambda named: records(named[1]))
