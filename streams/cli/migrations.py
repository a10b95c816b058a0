"""`sluice clickhouse migrate` and `status`: the tables, brought to this version and compared with it."""

from typing import Final

from sinks.clickhouse import ClickHouse
from sinks.clickhouse_store import ClickHouseStore, SchemaDiffers
from sinks.cluster import PROFILE, Cluster
from sinks.describe import describe, markdown
from sinks.migrate import Migrator, State, Status
from sinks.queries import filled, migrations
from streams.cli import output
from streams.cli.clickhouse_admin import access_of, managing
from streams.cli.connect import where
from streams.cli.failure import NotFound, Unwanted

_WHAT: Final = "ClickHouse's tables can't be brought to this version"
_CLUSTER_NOTE: Final = f"""\
-- Made of the same migrations as the tables of a single node. ClickHouse's parser has read these statements, and its
-- engine has run them as one shard without replicas; they have not been run on a cluster.
-- Nodes need the macros {{shard}} and {{replica}}, and the sink's user the profile: ALTER USER ... PROFILE {PROFILE}.
"""
_MEANINGS: Final[dict[State, str]] = {
    "applied": "in force",
    "pending": "`sluice clickhouse migrate` applies it",
    "running": "another runner is at it",
    "failed": "ClickHouse refused a statement of it: `sluice clickhouse migrate` tries again and tells which",
    "stopped": "its runner ended before it was done: `sluice clickhouse migrate` takes it over",
    "changed": "the file isn't the one that was applied: restore it and put the change into a new one",
    "newer": "in force; it came with a newer version of Sluice",
}


async def migrate_tables(as_json: bool) -> None:
    """Apply what is missing, and tell what was done."""
    async with managing(where(), _WHAT) as clickhouse:
        migrator = Migrator(clickhouse, tell=output.note)
        applied = await migrator.apply()
        found = await migrator.status()
    if as_json:
        output.emit({"database": clickhouse.access.database, "applied": applied, "migrations": len(found)})
        return
    done = f"{len(applied)} applied" if applied else "nothing to do"
    output.say(f"database {clickhouse.access.database}: {done}, {len(found)} in force")


def print_statements(cluster: str | None, since: int) -> None:
    """Print the statements of the migrations from number `since`, for a cluster or a single node."""
    access = access_of(where())
    names = {"database": access.database, "analytics": access.analytics}
    steps = migrations()
    if cluster is None:
        found = [filled(s, names) for step in steps if step.version >= since for s in step.statements]
    else:
        found = list(Cluster(cluster, names).script(steps, since))
        print(_CLUSTER_NOTE)
    print("".join(f"{statement};\n\n" for statement in found), end="")


async def show_status(as_json: bool) -> None:
    """Show each migration; then whether the tables are those that this version writes. Raises Unwanted."""
    async with managing(where(), "ClickHouse's migrations can't be read") as clickhouse:
        found = await Migrator(clickhouse).status()
        differences = await _differences(clickhouse, found)
    good = not differences and all(s.good for s in found)
    if as_json:
        migrations = [{"name": s.name, "state": s.state, "at": s.at} for s in found]
        output.emit({"ok": good, "migrations": migrations, "differences": differences})
    else:
        rows = [(s.name, s.state, output.moment(s.at), _MEANINGS[s.state]) for s in found]
        output.table(f"database {clickhouse.access.database}", ["migration", "state", "since", ""], rows)
        for difference in differences:
            output.say(difference, output.BAD)
        if good:
            output.say("the tables are those that this version writes", output.GOOD)
    if not good:
        raise Unwanted


async def show_tables(as_json: bool) -> None:
    """Print what the views and tables hold, as docs/tables.md. Raises NotFound before the first migration."""
    async with managing(where(), "ClickHouse's tables can't be read") as clickhouse:
        views, tables = await describe(clickhouse)
    if not tables:
        raise NotFound("there are no tables yet", "`sluice clickhouse migrate` makes them")
    if not as_json:
        print(markdown(views, tables), end="")
        return
    access = clickhouse.access
    for database, found in ((access.analytics, views), (access.database, tables)):
        for each in found:
            columns = [{"name": n, "type": k, "comment": c} for n, k, c in each.columns]
            output.emit(
                {"database": database, "name": each.name, "comment": each.comment, "columns": columns}
            )


async def _differences(clickhouse: ClickHouse, found: list[Status]) -> list[str]:
    """What of the tables differs from this version, where its migrations are in force."""
    if any(s.at is None for s in found):
        return []
    try:
        await ClickHouseStore(clickhouse).verify()
    except SchemaDiffers as error:
        return [str(error)]
    return []
