"""Writers of records, compiled from the schemas: straight from a struct's attributes to Avro's bytes.

A writer appends the bytes of `r` to the list `out`, piece by piece. That of a small record reads

    def write_Example(r, out):
        if type(r) is not T: expect(r, T)
        out += (INTS[n] if (n := len(b := encode(r.name))) < 1024 else long(n), b)
        if r.description is None and r.strict is None:
            out.append(b'\\x00\\x00')
        else:
            ...
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

import msgspec

from schemas.compiled import writing
from schemas.compiled.shapes import Field, Shape, fields_of, runs
from schemas.compiled.source import Source, function

Write = Callable[[Any, list[bytes]], None]
"""Appends the bytes of a record. Raises one of MISFITS where a value isn't what the schema says."""

MISFITS: Final = (TypeError, ValueError, AttributeError, OverflowError)

_HELPERS: Final = {name: getattr(writing, name) for name in (
    "INTS", "SOME", "long", "time", "int32", "some", "double", "pack_double", "boolean",
    "blob", "sequence", "mapping", "expect",
)}  # fmt: skip
_SHORT: Final = writing.SHORT


@cache
def writer(record_type: type[msgspec.Struct]) -> Write:
    """The writer of a record type, compiled at its first use. Raises TypeError for types that aren't compiled."""
    compiler = _Compiler(record_type)
    write: Write = function(compiler.text(), compiler.name, compiler.globals)
    return write


class _Compiler:
    """Makes the source of one writer, and what it refers to."""

    def __init__(self, record_type: type[msgspec.Struct]) -> None:
        self.globals: dict[str, Any] = {**_HELPERS, "encode": str.encode, "T": record_type}
        self._fields = fields_of(record_type)
        self.name = f"write_{record_type.__name__}"
        self._source = Source(f"def {self.name}(r, out):")
        self._pieces: list[str] = []
        """Expressions that are not yet appended, in their order; appended together they cost the least."""

    def text(self) -> str:
        self._source.add("if type(r) is not T: expect(r, T)")
        for run in runs(self._fields):
            self._run(run)
        self._flush()
        return self._source.text

    def _run(self, fields: Sequence[Field]) -> None:
        """Fields that stand together: appended at once where none is set, else half by half."""
        if len(fields) == 1:
            return self._field(fields[0])
        self._flush()
        middle = len(fields) // 2
        with self._source.block(f"if {' and '.join(map(_unset, fields))}:"):
            self._source.add(f"out.append({bytes(len(fields))!r})")
        with self._source.block("else:"):
            self._run(fields[:middle])
            self._run(fields[middle:])
            self._flush()

    def _field(self, field: Field) -> None:
        if not field.shape.nullable:
            return self._value(field.shape, f"r.{field.attribute}")
        self._flush()
        self._source.add(f"v = r.{field.attribute}")
        with self._source.block("if v is None:"):
            self._source.add("out.append(b'\\0')")
        with self._source.block("else:"):
            if field.shape.kind == "string":
                self._pieces += [f"SOME[n] if (n := len(b := encode(v))) < {_SHORT} else some(n)", "b"]
            else:
                self._pieces.append("b'\\2'")
                self._value(field.shape.value, "v")
            self._flush()

    def _value(self, shape: Shape, value: str, depth: int = 0) -> None:
        match shape.kind:
            case "array" | "map":
                self._container(shape, value, depth)
            case "record":
                self._flush()
                name = f"write_{shape.record.__name__}"
                self.globals[name] = writer(shape.record)
                self._source.add(f"{name}({value}, out)")
            case "decimal":
                name = f"decimal_{shape.precision}_{shape.scale}"
                self.globals[name] = writing.decimal_writer(shape.precision, shape.scale)
                self._pieces.append(f"{name}({value})")
            case "bytes":
                self._pieces += [_length(f"v if type(v := {value}) is bytes else blob(v)"), "b"]
            case "string":
                self._pieces += [_length(f"encode({value})"), "b"]
            case _:
                self._pieces.append(_NUMBERS[shape.kind].format(value))

    def _container(self, shape: Shape, value: str, depth: int) -> None:
        """An array or a map as one block of all its items, then a block of none."""
        self._flush()
        whole, key, item = f"c{depth}", f"k{depth}", f"i{depth}"
        kind, check = ("list", "sequence") if shape.kind == "array" else ("dict", "mapping")
        self._source.add(f"{whole} = {value}", f"if type({whole}) is not {kind}: {whole} = {check}({whole})")
        with self._source.block(f"if {whole}:"):
            self._source.add(f"out.append(long(len({whole})))")
            head = f"{item} in {whole}" if kind == "list" else f"{key}, {item} in {whole}.items()"
            with self._source.block(f"for {head}:"):
                if kind == "dict":
                    self._pieces += [_length(f"encode({key})"), "b"]
                self._value(shape.inner, item, depth + 1)
                self._flush()
        self._pieces.append("b'\\0'")

    def _flush(self) -> None:
        match self._pieces:
            case []:
                return
            case [piece]:
                self._source.add(f"out.append({piece})")
            case pieces:
                self._source.add(f"out += ({', '.join(pieces)})")
        self._pieces = []


_NUMBERS: Final = {
    "int": f"INTS[v] if type(v := {{0}}) is int and 0 <= v < {_SHORT} else int32(v)",
    "long": f"INTS[v] if type(v := {{0}}) is int and 0 <= v < {_SHORT} else long(v)",
    "time": "time({0})",
    "double": "pack_double(v) if type(v := {0}) is float else double(v)",
    "boolean": "boolean({0})",
}


def _length(encoded: str) -> str:
    """The piece for the length of `encoded`, which it names `b` for the next piece."""
    return f"INTS[n] if (n := len(b := {encoded})) < {_SHORT} else long(n)"


def _unset(field: Field) -> str:
    """The condition under which a sparse field's byte is 00."""
    value = f"r.{field.attribute}"
    if field.shape.nullable:
        return f"{value} is None"
    if field.shape.kind == "boolean":
        return f"{value} is False"
    return f"type(v := {value}) is {'list' if field.shape.kind == 'array' else 'dict'} and not v"
