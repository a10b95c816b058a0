"""Readers of records, compiled from the schemas: straight from Avro's bytes to structs.

A reader returns the record that begins at position `p` of `data`, and the position behind it. `left` holds how
many more records the event may have; it may end below 0. That of a small record reads

    def read_Example(data, p, left):
        n = SIZES[data[p]]; p += 1
        if n < 0: n, p = size(data, p)
        q = p + n
        x0 = data[p:q].decode()
        p = q
        r = T(name=x0)
        if data[p:p + 2] == b'\\x00\\x00': p += 2
        else:
            ...
        return r, p

A string that would reach beyond the event comes out short, and leaves `p` beyond it: the next byte that is read is
an IndexError, and after the last one the caller sees it.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

import msgspec

from schemas.compiled import reading
from schemas.compiled.shapes import Field, Shape, fields_of, runs
from schemas.compiled.source import Source, function

Read = Callable[[bytes, int, list[int]], tuple[Any, int]]

_HELPERS: Final = {name: getattr(reading, name) for name in (
    "SIZES", "INTS", "read_double", "long", "int32", "time", "size", "branch", "count", "take",
)}  # fmt: skip
_FLAT: Final = 2
"""Up to so many fields of a run are looked at one by one; a comparison costs as much as three."""

Store = Callable[[str], str]
"""The statement that keeps the value of an expression."""


@cache
def reader(record_type: type[msgspec.Struct]) -> Read:
    """The reader of a record type, compiled at its first use. Raises TypeError for types that aren't compiled."""
    compiler = _Compiler(record_type)
    read: Read = function(compiler.text(), compiler.name, compiler.globals)
    return read


def _to(target: str) -> Store:
    return lambda value: f"{target} = {value}"


class _Compiler:
    """Makes the source of one reader, and what it refers to."""

    def __init__(self, record_type: type[msgspec.Struct]) -> None:
        self.globals: dict[str, Any] = {**_HELPERS, "T": record_type}
        self._fields = fields_of(record_type)
        self.name = f"read_{record_type.__name__}"
        self._source = Source(f"def {self.name}(data, p, left):")

    def text(self) -> str:
        head = self._head()
        for n, field in enumerate(self._fields[:head]):
            self._field(field, _to(f"x{n}"))
        given = ", ".join(f"{field.attribute}=x{n}" for n, field in enumerate(self._fields[:head]))
        self._source.add(f"r = T({given})")
        for run in runs(self._fields[head:]):
            self._run(run)
        self._source.add("return r, p")
        return self._source.text

    def _head(self) -> int:
        """How many fields the struct is made with. Few is quick: its keywords are searched one by one."""
        head = max((n + 1 for n, field in enumerate(self._fields) if field.required), default=0)
        while head < len(self._fields) and not self._fields[head].sparse:
            head += 1
        return head

    def _run(self, fields: Sequence[Field]) -> None:
        """Fields that stand together: passed at once where none is set, else half by half."""
        if len(fields) <= _FLAT:
            for field in fields:
                self._sparse(field) if field.sparse else self._field(field, _to(f"r.{field.attribute}"))
            return
        middle, size = len(fields) // 2, len(fields)
        self._source.add(f"if data[p:p + {size}] == {bytes(size)!r}: p += {size}")
        with self._source.block("else:"):
            self._run(fields[:middle])
            self._run(fields[middle:])

    def _sparse(self, field: Field) -> None:
        """A field for whose byte 00 nothing is to be done."""
        store = _to(f"r.{field.attribute}")
        if field.shape.nullable:
            return self._nullable(field.shape, store)
        if field.shape.kind == "boolean":
            return self._source.add(f"if data[p]: {store('True')}", "p += 1")
        self._source.add("if not data[p]: p += 1")
        with self._source.block("else:"):
            self._value(field.shape, store)

    def _field(self, field: Field, store: Store) -> None:
        if not field.shape.nullable:
            return self._value(field.shape, store)
        self._source.add(store("None"))
        self._nullable(field.shape, store)

    def _nullable(self, shape: Shape, store: Store) -> None:
        """A union; stores nothing for null."""
        self._source.add("b = data[p]; p += 1")
        with self._source.block("if b:"):
            self._source.add("if b != 2: b, p = branch(data, p)")
            with self._source.block("if b:"):
                self._value(shape.value, store)

    def _value(self, shape: Shape, store: Store, depth: int = 0) -> None:
        match shape.kind:
            case "string" | "bytes":
                value = "data[p:q].decode()" if shape.kind == "string" else "data[p:q]"
                self._source.add("n = SIZES[data[p]]; p += 1", "if n < 0: n, p = size(data, p)", "q = p + n")
                self._source.add(store(value), "p = q")
            case "array" | "map":
                self._container(shape, store, depth)
            case "record":
                name = f"read_{shape.record.__name__}"
                self.globals[name] = reader(shape.record)
                if not depth:  # a block counts its own; the few single ones are checked at the event's end
                    self._source.add("left[0] -= 1")
                self._source.add(f"v, p = {name}(data, p, left)", store("v"))
            case "decimal":
                name = f"decimal_{shape.scale}"
                self.globals[name] = reading.decimal_reader(shape.scale)
                self._source.add(f"v, p = {name}(data, p)", store("v"))
            case "boolean":
                self._source.add(store("data[p] != 0"), "p += 1")
            case "double":
                self._source.add(store("read_double(data, p)[0]"), "p += 8")
            case "time":
                self._source.add("v, p = time(data, p)", store("v"))
            case "int" | "long":
                read = "int32" if shape.kind == "int" else "long"
                self._source.add("v = INTS[data[p]]", f"if v is None: v, p = {read}(data, p)")
                self._source.add("else: p += 1", store("v"))

    def _container(self, shape: Shape, store: Store, depth: int) -> None:
        """An array or a map, block by block."""
        whole, key, items = f"c{depth}", f"k{depth}", f"n{depth}"
        self._source.add(f"{whole} = {'[]' if shape.kind == 'array' else '{}'}")
        with self._source.block("while data[p]:"):
            self._source.add(f"{items}, p = count(data, p)", f"if not {items}: break")
            if shape.inner.kind == "record":
                self._source.add(f"take(left, {items})")
            with self._source.block(f"for _ in range({items}):"):
                if shape.kind == "map":
                    self._value(Shape("string"), _to(key))
                    self._value(shape.inner, _to(f"{whole}[{key}]"), depth + 1)
                else:
                    self._value(shape.inner, lambda value: f"{whole}.append({value})", depth + 1)
        self._source.add("else: p += 1", store(whole))
