"""Commands that mend: dead-letters and quarantine."""

from pathlib import Path
from typing import Annotated

import typer

from streams.cli.commands.common import MEND, Json, Reason, TenantOption, duration_s, run

dead_letters = typer.Typer(help="Events that could not be processed.", no_args_is_help=True)
quarantine = typer.Typer(
    help="Requests whose call may have been paid, its end unknown.", no_args_is_help=True
)

LetterId = Annotated[str, typer.Argument(help="topic-partition-offset, as `list` shows it.")]
LetterIds = Annotated[list[str], typer.Argument(help="One or more ids, as `list` shows them.")]
Since = Annotated[str | None, typer.Option("--since", "-s", help="Only of the last such as 30m, 2h, 1d.")]
Every = Annotated[
    bool, typer.Option("--all", "-a", help="Also those already redriven, discarded or resolved.")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(dead_letters, name="dead-letters", rich_help_panel=MEND)
    app.add_typer(quarantine, name="quarantine", rich_help_panel=MEND)


@dead_letters.command("list")
def list_letters(
    tenant: TenantOption = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Only with this reason.")] = None,
    since: Since = None,
    every: Every = False,
    as_json: Json = False,
) -> None:
    """List dead letters, the oldest first."""
    from streams.cli.letters import Wanted, show_list

    run(show_list(Wanted(tenant=tenant, reason=reason, since_s=duration_s(since), handled=every), as_json))


@dead_letters.command("show")
def show_letter(
    letter_id: LetterId,
    raw: Annotated[Path | None, typer.Option("--raw", help="Write the original bytes to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Show one dead letter with its original, decoded as far as it can be."""
    from streams.cli.letters import show_one

    run(show_one(letter_id, raw, as_json))


@dead_letters.command("redrive")
def redrive(letter_ids: LetterIds, reason: Reason = None, as_json: Json = False) -> None:
    """Send the originals again, as they were. Do this once the cause is mended."""
    from streams.cli.redrive import redrive_all

    run(redrive_all(letter_ids, reason, as_json))


@dead_letters.command("discard")
def discard(letter_ids: LetterIds, reason: Reason = None, as_json: Json = False) -> None:
    """Mark dead letters as done with, for the audit trail. Their bytes stay until retention ends."""
    from streams.cli.redrive import discard_all

    run(discard_all(letter_ids, reason, as_json))


@quarantine.command("list")
def list_quarantine(tenant: TenantOption = None, every: Every = False, as_json: Json = False) -> None:
    """List quarantined requests, the oldest first."""
    from streams.cli.letters import Wanted, show_list

    run(show_list(Wanted(tenant=tenant, kind="quarantine", handled=every), as_json))


@quarantine.command("resolve")
def resolve(
    letter_id: LetterId,
    retry: Annotated[
        bool, typer.Option("--retry", help="Call again; the first call may have been paid.")
    ] = False,
    fail: Annotated[bool, typer.Option("--fail", help="End the request as failed.")] = False,
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Decide about a quarantined request: --retry or --fail."""
    if retry == fail:
        raise typer.BadParameter("say either --retry or --fail")
    from streams.cli.redrive import resolve_one

    run(resolve_one(letter_id, "retry" if retry else "fail", reason, as_json))
