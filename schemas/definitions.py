"""Avro schema texts: loading the bundled ones, making them self-contained, preparing them for use.

A prepared schema differs from its text in what fastavro does with the values, never in the bytes:
timestamps stay integers (milliseconds), decimals are read with a bound on their length, and records are
counted while they are read, so that a few hostile bytes can't become gigabytes of objects.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form
from fastavro.types import Schema

from schemas import logical

NAMESPACE: Final = "sluice"
PRIMITIVES: Final = frozenset(["null", "boolean", "int", "long", "float", "double", "bytes", "string"])
_MAX_DEPTH: Final = 64


class UnusableSchema(ValueError):
    """A schema that must not be used to read events; the message says why."""


@cache
def bundled() -> Mapping[str, Any]:
    """The bundled schemas by full name, as in their files: references are names."""
    folder = files("schemas") / "avro"
    texts = [p.read_text(encoding="utf-8") for p in folder.iterdir() if p.name.endswith(".avsc")]
    parsed = [json.loads(text) for text in texts]
    return {full_name(schema): schema for schema in parsed}


@cache
def self_contained(name: str) -> Mapping[str, Any]:
    """The bundled schema `name` with every referenced record written out where it is first used.

    All callers share it: copy it before you change anything in it.
    """
    result = inline(bundled()[name], bundled())
    assert isinstance(result, dict)
    return result


@cache
def released() -> Mapping[tuple[str, str], Any]:
    """The self-contained schemas of released versions by (version, record name), oldest first."""
    found: dict[tuple[str, str], Any] = {}
    for version in sorted((files("schemas") / "released").iterdir(), key=lambda folder: folder.name):
        for file in version.iterdir():
            if file.name.endswith(".json"):
                name = file.name.removesuffix(".json")
                found[version.name, name] = json.loads(file.read_text(encoding="utf-8"))
    return found


def full_name(schema: Mapping[str, Any], namespace: str = "") -> str:
    """The full name of a named type that stands in `namespace`."""
    name = str(schema["name"])
    space = str(schema.get("namespace", namespace))
    return name if "." in name or not space else f"{space}.{name}"


def inline(schema: Any, known: Mapping[str, Any], seen: set[str] | None = None) -> Any:
    """`schema` with each name in `known` replaced by its definition at its first use."""
    seen = set() if seen is None else seen
    if isinstance(schema, str):
        if schema in PRIMITIVES or schema in seen or schema not in known:
            return schema
        return inline(known[schema], known, seen)
    if isinstance(schema, list):
        return [inline(branch, known, seen) for branch in schema]
    result = dict(schema)
    if "fields" in result:
        seen.add(full_name(result))
        result["fields"] = [{**f, "type": inline(f["type"], known, seen)} for f in result["fields"]]
    for part in ("items", "values"):
        if part in result:
            result[part] = inline(result[part], known, seen)
    return result


def canonical(schema: Any) -> str:
    """The Parsing Canonical Form of a self-contained schema: equal forms mean equal bytes."""
    return to_parsing_canonical_form(fastavro.parse_schema(schema))


def crc64(canonical_form: str) -> bytes:
    """The CRC-64-AVRO fingerprint as single-object encoding carries it: 8 bytes, little endian."""
    return bytes.fromhex(fingerprint(canonical_form, "CRC-64-AVRO"))


def prepare(schema: Any) -> Schema:
    """A self-contained schema, checked and parsed for reading and writing events.

    Raises UnusableSchema where it isn't valid Avro, or where reading with it could not be bounded:
    recursive types, arrays of items that take no bytes, nesting deeper than 64.
    """
    try:
        parsed = fastavro.parse_schema(_prepared(schema, 0))
    except UnusableSchema:
        raise
    except Exception as error:  # fastavro meets foreign text here and raises KeyError, TypeError and others
        raise UnusableSchema(f"not a valid Avro schema: {error}") from error
    _measure(parsed, {})
    return parsed


def _prepared(schema: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise UnusableSchema(f"types nest deeper than {_MAX_DEPTH}")
    if isinstance(schema, list):
        return [_prepared(branch, depth + 1) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    result = {k: v for k, v in schema.items() if k not in ("doc", "logicalType")}
    if schema.get("type") == "bytes" and schema.get("logicalType") == "decimal":
        result["logicalType"] = logical.DECIMAL
    if isinstance(result.get("type"), (dict, list)):
        result["type"] = _prepared(result["type"], depth + 1)
    if "fields" in result:
        result["logicalType"] = logical.COUNTED
        result["fields"] = [_prepared_field(f, depth) for f in result["fields"]]
    for part in ("items", "values"):
        if part in result:
            result[part] = _prepared(result[part], depth + 1)
    return result


def _prepared_field(field: dict[str, Any], depth: int) -> dict[str, Any]:
    kept = {k: v for k, v in field.items() if k != "doc"}
    return {**kept, "type": _prepared(field["type"], depth + 1)}


_SMALLEST: Final = {"null": 0, "float": 4, "double": 8}


def _measure(schema: Any, named: dict[str, tuple[int, int] | None]) -> tuple[int, int]:
    """The fewest bytes a value takes and how deep it nests.

    `named` holds what the named types measure; None while one is being measured.
    Raises UnusableSchema for a schema by which few bytes could make a reader run, or nest, without end.
    """
    if isinstance(schema, str):
        if schema in PRIMITIVES:
            return _SMALLEST.get(schema, 1), 1
        known = named[schema]
        if known is None:
            raise UnusableSchema(f"{schema} contains itself; recursive types are not accepted")
        return known
    if isinstance(schema, list):
        inner = [_measure(branch, named) for branch in schema]
        return 1 + min((size for size, _ in inner), default=0), _deeper(inner)
    match schema["type"]:
        case "record" | "error":
            named[schema["name"]] = None
            inner = [_measure(field["type"], named) for field in schema["fields"]]
            result = sum(size for size, _ in inner), _deeper(inner)
        case "array":
            inner = [_measure(schema["items"], named)]
            if inner[0][0] == 0:
                raise UnusableSchema("an array's items take no bytes, so no event's size bounds its length")
            result = 1, _deeper(inner)
        case "map":
            result = 1, _deeper([_measure(schema["values"], named)])
        case "enum":
            result = 1, 1
        case "fixed":
            result = int(schema["size"]), 1
        case kind:
            result = _measure(kind, named)
    if "name" in schema:
        named[schema["name"]] = result
    return result


def _deeper(inner: list[tuple[int, int]]) -> int:
    depth = 1 + max((depth for _, depth in inner), default=0)
    if depth > _MAX_DEPTH:
        raise UnusableSchema(f"types nest deeper than {_MAX_DEPTH}")
    return depth
