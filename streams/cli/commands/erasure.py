"""Commands for who answers for personal data: erase, legal-hold."""

from typing import Annotated

import typer

from streams.cli.commands.common import Json, run

ANSWER = "Erasure and legal hold"

legal_hold = typer.Typer(help="What neither retention nor an erasure may remove.", no_args_is_help=True)

Tenant = Annotated[str, typer.Option("--tenant", "-t", help="Whose texts.")]
User = Annotated[str | None, typer.Option("--user", "-u", help="Only those of this user of the tenant.")]
Request = Annotated[str | None, typer.Option("--request", help="Only those of this request.")]
Reason = Annotated[
    str | None, typer.Option("--reason", help="Why, for the record and the audit trail; needed.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command(rich_help_panel=ANSWER)(erase)
    app.add_typer(legal_hold, name="legal-hold", rich_help_panel=ANSWER)


def erase(
    tenant: Tenant,
    user: User = None,
    request: Request = None,
    reason: Reason = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what it would erase, and erase nothing.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Erase the texts of a tenant, a user or a request, and the original bytes of their dead letters.

    Rows stay, emptied, with their numbers. What comes in later of requests accepted before is erased too.
    Exit code 7 where a legal hold is in the way, 1 where one has kept a part.
    """
    from streams.cli.erasure import Wanted, scope_of
    from streams.cli.erasure import erase as work

    run(work(Wanted(scope_of(tenant, user, request), reason, dry_run, yes, as_json)))


@legal_hold.command("add")
def add(
    tenant: Tenant, user: User = None, request: Request = None, reason: Reason = None, as_json: Json = False
) -> None:
    """Keep texts and original bytes from retention and erasures, those that are there and those that arrive."""
    from streams.cli import holds
    from streams.cli.erasure import scope_of

    run(holds.add(scope_of(tenant, user, request), reason, as_json))


@legal_hold.command("list")
def show(as_json: Json = False) -> None:
    """List the holds in force, and what each keeps."""
    from streams.cli import holds

    run(holds.show(as_json))


@legal_hold.command("release")
def release(
    hold_id: Annotated[str, typer.Argument(help="Its id, as `list` shows it.")],
    reason: Reason = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """End a hold: retention goes on, and erasures that it kept off are carried out."""
    from streams.cli import holds

    run(holds.release(hold_id, reason, yes=yes, as_json=as_json))
