"""`sluice clickhouse grants`: read-only roles and row policies by tenant, as SQL or applied."""

from collections.abc import Sequence
from typing import Final

from sinks import grants
from sinks.clickhouse import ClickHouse
from sinks.queries import query
from streams.cli import output
from streams.cli.clickhouse_admin import managing
from streams.cli.connect import where
from streams.cli.failure import BadInput, NotFound, Refused

_SECRET: Final = ("env:", "file:")


async def show_grants(
    user: str | None,
    tenants: Sequence[str],
    password: str | None,
    cluster: str | None,
    *,
    apply: bool,
    as_json: bool,
) -> None:
    """Print the statements, or run them one after the other. Raises Failure."""
    place = where()
    if password is not None and user is None:
        raise BadInput("a password is for a user", "name the user with --user")
    if apply and place.own_clickhouse:
        raise Refused(
            "the ClickHouse of `sluice up` has two users, default and analyst, and takes no others",
            "leave --apply out and run the statements on a ClickHouse server, or set SLUICE_CLICKHOUSE_URL to one",
        )
    person = grants.Person(user, tenants, _secret(password)) if user else None
    async with managing(place, "the rights can't be set") as clickhouse:
        found = list(grants.statements(await readable(clickhouse), tenants, person, cluster))
        for statement in found if apply else ():
            await clickhouse.command(statement)
    if as_json:
        for statement in found:
            output.emit({"statement": statement, "applied": apply})
    elif apply:
        output.say(f"{len(found)} statements applied", output.GOOD)
    else:
        print("".join(f"{statement};\n" for statement in found), end="")


async def readable(clickhouse: ClickHouse) -> grants.Readable:
    """What has a tenant in the databases of `clickhouse`. Raises NotFound before the first migration."""
    access = clickhouse.access
    names = {"database_name": access.database, "analytics_name": access.analytics}
    found = await clickhouse.query(query("with_tenant"), names)
    if not found:
        raise NotFound(
            f"database {access.database} has no tables yet", "`sluice clickhouse migrate` makes them"
        )
    tables = [table for database, table in found if database == access.database]
    views = [view for database, view in found if database == access.analytics]
    return grants.Readable(access.database, access.analytics, tables, views)


def _secret(reference: str | None) -> str | None:
    from streams.settings import resolve_secret

    if reference is None:
        return None
    if not reference.startswith(_SECRET):
        raise BadInput("a password isn't given on the command line", "use --password env:NAME or file:PATH")
    try:
        return resolve_secret(reference)
    except ValueError as error:
        raise BadInput(str(error)) from error
