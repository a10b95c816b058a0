"""Which value of a record doesn't fit its schema: looked for after a compiled writer stumbled over it."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from schemas.compiled import writing
from schemas.compiled.shapes import Shape, fields_of

_WRITERS: Final[dict[str, Callable[[Any], object]]] = {
    "string": str.encode, "bytes": writing.blob, "boolean": writing.boolean, "int": writing.int32,
    "long": writing.long, "time": writing.long, "double": writing.double,
}  # fmt: skip


def misfit(record: msgspec.Struct) -> TypeError | ValueError:
    """The error that names the first field whose value can't be written, and says why."""
    shape = Shape("record", record=type(record))
    found = next(_misfits(record, shape, type(record).__name__), None)
    return found or TypeError(f"this {type(record).__name__} can't be encoded")


def _misfits(value: Any, shape: Shape, place: str) -> Iterator[TypeError | ValueError]:
    if shape.nullable and value is None:
        return
    try:
        parts = list(_parts(value, shape, place))
    except (ValueError, OverflowError) as error:
        yield ValueError(f"{place}: {error}")
    except TypeError:
        yield TypeError(f"{place}: a {type(value).__name__} where the schema has {_named(shape)}")
    else:
        for part in parts:
            yield from _misfits(*part)


def _parts(value: Any, shape: Shape, place: str) -> Iterator[tuple[Any, Shape, str]]:
    """The values in `value`, each with its place. Raises as writing `value` itself would."""
    match shape.kind:
        case "record":
            writing.expect(value, shape.record)
            for field in fields_of(shape.record):
                inner = getattr(value, field.attribute, msgspec.UNSET)
                yield inner, field.shape, f"{place}.{field.attribute}"
        case "array":
            for n, item in enumerate(writing.sequence(value)):
                yield item, shape.inner, f"{place}[{n}]"
        case "map":
            for key, item in writing.mapping(value).items():
                yield key, Shape("string"), f"{place}, a key"
                yield item, shape.inner, f"{place}[{key!r}]"
        case "decimal":
            writing.decimal_writer(shape.precision, shape.scale)(value)
        case kind:
            _WRITERS[kind](value)


def _named(shape: Shape) -> str:
    name = shape.record.__name__ if shape.kind == "record" else shape.kind
    return f"{name} or null" if shape.nullable else name
