"""ClickHouse's Native format, one block: the columns one after another, as the client's own types write them.

The client's insert would do the same, but it decides by itself where to cut blocks, and loads pandas to see whether
the data are pandas'.
"""

from collections.abc import Sequence
from typing import Any

from clickhouse_connect.datatypes.base import ClickHouseType
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.common import write_leb128
from clickhouse_connect.driver.insert import InsertContext


class Encoder:
    """Writes blocks of the columns `names`, whose types are `types` (ClickHouse's names)."""

    def __init__(self, names: Sequence[str], types: Sequence[str]) -> None:
        self._columns: list[tuple[str, ClickHouseType, bytes]] = []
        for name, type_name in zip(names, types, strict=True):
            kind = get_from_name(type_name)
            head = bytearray()
            for text in (name, kind.insert_name):
                encoded = text.encode()
                write_leb128(len(encoded), head)
                head += encoded
            self._columns.append((name, kind, bytes(head)))
        listed = ", ".join(f"`{name}`" for name in names)
        self._statement = f"({listed}) FORMAT Native\n"
        self._context = InsertContext("", names, [kind for _, kind, _ in self._columns])

    def insert(self, target: str, columns: Sequence[Sequence[Any]]) -> bytes:
        """An INSERT into `target` with its data. What the types raise for a value goes through."""
        out = bytearray(f"INSERT INTO {target} {self._statement}".encode())
        write_leb128(len(self._columns), out)
        write_leb128(len(columns[0]), out)
        for (name, kind, head), values in zip(self._columns, columns, strict=True):
            out += head
            self._context.start_column(name)
            kind.write_column(values, out, self._context)
        return bytes(out)
