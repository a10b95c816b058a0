"""Commands about ClickHouse itself: migrate, status, describe, rebuild, grants."""

from typing import Annotated

import typer

from streams.cli.commands.common import SET, Json, run

clickhouse = typer.Typer(help="ClickHouse's tables: migrations, rights.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(clickhouse, name="clickhouse", rich_help_panel=SET)


@clickhouse.command("migrate")
def migrate(
    cluster: Annotated[
        str | None, typer.Option("--cluster", help="Replicated and Distributed tables for this cluster.")
    ] = None,
    printed: Annotated[
        bool, typer.Option("--print", help="Print the statements instead of running them.")
    ] = False,
    since: Annotated[
        int, typer.Option("--from", min=1, help="With --print: only from the migration of this number.")
    ] = 1,
    as_json: Json = False,
) -> None:
    """Bring the tables to this version: forward only, each file once, by one runner at a time."""
    from streams.cli.migrations import migrate_tables, print_statements

    if printed:
        print_statements(cluster, since)
        return
    if cluster is not None or since != 1:
        raise typer.BadParameter(
            "a cluster's statements are only printed: add --print, and run them with its client"
        )
    run(migrate_tables(as_json))


@clickhouse.command("status")
def status(as_json: Json = False) -> None:
    """Show each migration and whether the tables are as they must be. Exit code 1 where they aren't."""
    from streams.cli.migrations import show_status

    run(show_status(as_json))


@clickhouse.command("describe")
def describe(as_json: Json = False) -> None:
    """Print what each view and table holds and what each column means, as Markdown."""
    from streams.cli.migrations import show_tables

    run(show_tables(as_json))


@clickhouse.command("rebuild")
def rebuild(
    view: Annotated[
        str, typer.Argument(help="usage_per_minute, usage_per_day, requests_per_minute or requests_per_day.")
    ],
    as_json: Json = False,
) -> None:
    """Make the sums of a view anew from the rows. Queries go on meanwhile, and stay right."""
    from streams.cli.rebuild import rebuild_view

    run(rebuild_view(view, as_json))


User = Annotated[
    str | None, typer.Option("--user", "-u", help="A user who gets the rights, in place of the roles he has.")
]
Tenants = Annotated[
    list[str] | None, typer.Option("--tenant", "-t", help="Only this tenant's rows; may be repeated.")
]
Password = Annotated[
    str | None, typer.Option("--password", help="Make the user, with the secret at env:NAME or file:PATH.")
]
Cluster = Annotated[str | None, typer.Option("--cluster", help="ON CLUSTER this one.")]
Apply = Annotated[bool, typer.Option("--apply", help="Run the statements instead of printing them.")]


@clickhouse.command("grants")
def grants(
    user: User = None,
    tenants: Tenants = None,
    password: Password = None,
    cluster: Cluster = None,
    apply: Apply = False,
    as_json: Json = False,
) -> None:
    """Print (or --apply) the SQL of read-only roles: for all rows, and by row policies for those of a tenant."""
    from streams.cli.grants import show_grants

    run(show_grants(user, tuple(tenants or ()), password, cluster, apply=apply, as_json=as_json))
