"""docs/tables.md, made of the database itself: what each view and table holds, and what each column means."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from sinks.clickhouse import ClickHouse
from sinks.queries import query

_HEAD: Final = """\
# Tables and views

Made of the comments in ClickHouse by `sluice clickhouse describe`: don't edit it; change a comment by a migration.

- **Views in `analytics` are the contract.** Their columns keep their names and meanings; new ones may come at the end.
  The tables in `sluice` are what the sink writes: a later version may change them, and its views hide that.
- **Times** are UTC, to the millisecond. Lengths of time end in `_ms` and are milliseconds.
- **Money** is in US dollars with nine places, an exact decimal.
- **NULL means unknown**, never zero: `sum` passes over it, and `count(column)` counts what is known. Where a text is
  not given, or doesn't apply, it is empty.
- `kafka_topic`, `kafka_partition` and `kafka_offset` say of which record a row was made: `sluice reconcile` compares
  them with Kafka.
"""


@dataclass
class Described:
    """A table or view. `columns` are name, type and comment."""

    name: str
    comment: str
    columns: list[tuple[str, str, str]] = field(default_factory=list)


async def describe(clickhouse: ClickHouse) -> tuple[list[Described], list[Described]]:
    """The views, and the tables, each sorted by name."""
    access = clickhouse.access
    names = {"database_name": access.database, "analytics_name": access.analytics}
    found: dict[tuple[str, str], Described] = {}
    for database, table, comment, name, kind, meaning in await clickhouse.query(query("described"), names):
        known = found.setdefault((database, table), Described(table, comment))
        known.columns.append((name, kind, meaning))
    views = [d for (database, _), d in found.items() if database == access.analytics]
    return views, [d for (database, _), d in found.items() if database == access.database]


def markdown(views: Iterable[Described], tables: Iterable[Described]) -> str:
    """The document."""
    lines = [_HEAD]
    for title, database, found in (("Views", "analytics", views), ("Tables", "sluice", tables)):
        lines.append(f"## {title}\n")
        for each in found:
            lines += [f"### {database}.{each.name}\n", f"{each.comment}\n", *_columns(each.columns), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _columns(columns: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    yield "| column | type | meaning |"
    yield "|---|---|---|"
    for name, kind, meaning in columns:
        yield f"| `{name}` | `{kind}` | {meaning.replace('|', chr(92) + '|')} |"
