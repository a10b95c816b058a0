"""The command that proves completeness: reconcile."""

from typing import Annotated

import typer

from streams.cli.commands.common import MEND, Json, run


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(rich_help_panel=MEND)(reconcile)


def reconcile(
    since: Annotated[
        str | None, typer.Option("--from", help="Only from this time on: 2026-01-31, or 24h for a day ago.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="Only before this time.")] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Insert what is missing, remove what is doubled.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare Kafka with ClickHouse offset by offset, and requests and attempts with their ends.

    Exit code 1 where a gap is found and left. The result is recorded in the table reconciliations.
    """
    from streams.cli.reconcile import run_reconcile

    run(run_reconcile(since, until, repair=repair, as_json=as_json))
