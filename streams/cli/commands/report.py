"""The command `report`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from streams.cli.commands.common import WORK, Json, TenantOption, run


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(rich_help_panel=WORK)(report)


def report(
    kind: Annotated[Literal["cost", "usage", "latency", "errors"], typer.Argument(help="What it is about.")],
    by: Annotated[
        str | None, typer.Option("--by", "-b", help="Groups, with commas: tenant,model or day,task_type.")
    ] = None,
    since: Annotated[str, typer.Option("--since", "-s", help="12h, 7d, 2026-11-01 (UTC).")] = "7d",
    until: Annotated[str | None, typer.Option("--until", "-u", help="Now, where left out.")] = None,
    tenant: TenantOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="Rows at most.")] = 50,
    csv: Annotated[bool, typer.Option("--csv", help="CSV with a header line.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page with plots to this file.", dir_okay=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Report cost, usage, latency or errors of a time, from ClickHouse.

    Exit code 1 where there is nothing in that time.
    """
    from streams.cli.report import Asked
    from streams.cli.report import report as print_report

    if sum((csv, as_json, html is not None)) > 1:
        raise typer.BadParameter("choose one of --csv, --json and --html")
    asked = Asked(kind, by, since, until, tenant, limit)
    run(print_report(asked, "json" if as_json else "csv" if csv else "table", html))
