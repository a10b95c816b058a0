"""The migrations for a cluster: the same statements ON CLUSTER, with replicated tables and, where they are spread over
shards, Distributed ones before them. Made of the text of the migrations, so that the two can't part.

Parsed by the engine, and run by it as one shard without replicas, in tests; never run on a real cluster.

What keeps rows exactly once there:

- A table whose order begins with the tenant is spread over the shards, by tenant and request id: the rows of a request
  lie on one shard in every table. `t` is then the Distributed table and `t_local` what it stands for. The key is a
  function of the row, so that a block that is sent again is cut the same way, and each shard knows the block's token.
- All other tables, the ledger among them, aren't spread: every node has a replica of the same table. A ledger has one
  writer for each version because its token is known in one place, which a ledger in shards would not have.
- An insert is in when a quorum of replicas has it, and a read waits until its replica has what a quorum has: a row
  that was acknowledged must not look missing to who repeats its intent. The profile `sluice_sink` sets that; the
  sink's user needs it.
- Tokens are remembered by number and by time; both must cover the inserts of one lease.
- The lease of an insert is checked where the insert arrives, before it is passed on to the shards.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sinks.grants import text
from sinks.queries import Migration, filled, queries

PROFILE: Final = "sluice_sink"
LOCAL: Final = "_local"
_SETTINGS: Final = (
    "distributed_foreground_insert = 1, insert_quorum = 'auto', insert_quorum_parallel = 0, "
    "select_sequential_consistency = 1"
)
_WINDOW: Final = re.compile(r"\bnon_replicated_deduplication_window = (\d+)")
_REPLICATED_WINDOW: Final = (
    r"replicated_deduplication_window = \1, replicated_deduplication_window_seconds = 604800"  # a week
)
_NAME: Final = r"(\{\w+\}\.\w+)"
_TABLE: Final = re.compile(
    rf"CREATE TABLE IF NOT EXISTS {_NAME}\n\((?P<columns>.*)\n\)\n"
    r"ENGINE = (?P<engine>\w*MergeTree)(?:\((?P<args>[^)]*)\))?\n(?P<rest>.*)",
    re.DOTALL,
)
_VIEW: Final = re.compile(rf"(CREATE OR REPLACE VIEW) {_NAME}(.*)", re.DOTALL)
_ALTER: Final = re.compile(rf"ALTER TABLE {_NAME}\s+(.*)", re.DOTALL)
_SPREAD: Final = re.compile(r"^ORDER BY \(?(?:claimed_)?tenant\b", re.MULTILINE)
_COMMENT: Final = re.compile(r"^COMMENT ('(?:[^']|'')*')$", re.MULTILINE)
_SUBQUERY: Final = re.compile(r"(?<!GLOBAL )\b((?:NOT )?IN)\s+\((?=SELECT\b)")


class NoVariant(ValueError):
    """A statement of a kind for which nobody has said what it becomes on a cluster."""


class Cluster:
    """Turns migrations into statements for the cluster `name`; `names` are those of {database} and {analytics}.

    Its nodes tell their shard and replica by the macros {shard} and {replica}, as ClickHouse recommends. Raises
    NoVariant.
    """

    def __init__(self, name: str, names: Mapping[str, str]) -> None:
        self._name = text(name)
        self._on = f" ON CLUSTER {self._name}"
        self._names = names
        self._spread: dict[str, str] = {}

    def script(self, migrations: Sequence[Migration], since: int = 1) -> Iterator[str]:
        """All statements, or those of the migrations from number `since` where those before are in force."""
        if since == 1:
            yield from self._first()
        for migration in migrations:
            made = self._of(migration)
            if migration.version >= since:
                yield from made

    def _first(self) -> Iterator[str]:
        """What comes before the migrations."""
        for database in self._names.values():
            yield f"CREATE DATABASE IF NOT EXISTS {database}{self._on}"
        yield f"CREATE SETTINGS PROFILE IF NOT EXISTS {PROFILE}{self._on} SETTINGS {_SETTINGS}"
        yield from self._filled(self._created(queries()["create_migrations"]))

    def _of(self, migration: Migration) -> list[str]:
        """The statements of one migration, and the note that it was applied."""
        made = [s for statement in migration.statements for s in self._filled(self._variant(statement))]
        note = (
            "INSERT INTO {database}.schema_migrations (version, name, checksum, event, runner) VALUES "
            f"({migration.version}, '{migration.name}', '{migration.checksum}', 'applied', 'by hand')"
        )
        return [*made, *self._filled(iter((note,)))]

    def _filled(self, statements: Iterator[str]) -> Iterator[str]:
        return (filled(statement, self._names) for statement in statements)

    def _variant(self, statement: str) -> Iterator[str]:
        if statement.startswith("CREATE TABLE"):
            return self._created(statement)
        if view := _VIEW.fullmatch(statement):
            body = _SUBQUERY.sub(r"GLOBAL \1 (", view[3])
            return iter((f"{view[1]} {view[2]}{self._on}{body}",))
        if altered := _ALTER.fullmatch(statement):
            return self._altered(altered[1], altered[2])
        raise NoVariant(f"nobody has said what becomes of this on a cluster: {statement[:200]}")

    def _created(self, statement: str) -> Iterator[str]:
        found = _TABLE.fullmatch(statement)
        if found is None:
            raise NoVariant(
                f"a table that isn't of the MergeTree family, or is written otherwise: {statement[:200]}"
            )
        table, columns, rest = found[1], found["columns"], _WINDOW.sub(_REPLICATED_WINDOW, found["rest"])
        if _SPREAD.search(rest):
            where, replica, name = "{shard}/", "{replica}", table + LOCAL
            self._spread[table] = self._distributed(table, columns, rest)
        else:
            where, replica, name = "", "{shard}-{replica}", table
        args = f"'/clickhouse/tables/{where}{table.replace('.', '/')}', '{replica}'"
        if found["args"]:
            args += f", {found['args']}"
        engine = f"Replicated{found['engine']}({args})"
        yield f"CREATE TABLE IF NOT EXISTS {name}{self._on}\n({columns}\n)\nENGINE = {engine}\n{rest}"
        if table in self._spread:
            yield self._spread[table]

    def _distributed(self, table: str, columns: str, rest: str) -> str:
        has = {c for c in ("tenant", "request_id") if re.search(rf"^ {{4}}`?{c}`? ", columns, re.MULTILINE)}
        # A letter's tenant isn't verified, and its request is seldom known.
        key = ", ".join(sorted(has, reverse=True)) if "tenant" in has else "id"
        database, name = table.split(".")
        comment = _COMMENT.search(rest)
        return (
            f"CREATE OR REPLACE TABLE {table}{self._on} AS {table}{LOCAL}\n"
            f"ENGINE = Distributed({self._name}, '{database}', '{name}{LOCAL}', cityHash64({key}))"
            + (f"\nCOMMENT {comment[1]}" if comment else "")
        )

    def _altered(self, table: str, commands: str) -> Iterator[str]:
        """A Distributed table holds nothing: it is made anew instead of altered."""
        name = table + LOCAL if table in self._spread else table
        yield f"ALTER TABLE {name}{self._on}\n    {commands}"
        if table in self._spread and "COLUMN" in commands:
            yield self._spread[table]
