"""All commands. Start-up stays quick: a command's work is imported when the command runs."""

import logging
from typing import Annotated

import typer

from streams.cli.commands import (
    admin,
    clickhouse,
    completeness,
    data,
    erasure,
    letters,
    models,
    providers,
    report,
    stack,
)
from streams.cli.commands.common import Json

_ABOUT = "Language-model work on Kafka: exactly one terminal result per request, every call accounted for."

app = typer.Typer(
    name="sluice",
    help=_ABOUT,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 a bad answer, 2 wrong usage, 3 bad input, 4 unreachable, 5 not found, "
    "6 timed out, 7 refused, 130 interrupted.",
)
for part in (stack, data, report, letters, completeness, erasure, admin, models, providers, clickhouse):
    part.add_to(app)


@app.command(rich_help_panel="Run")
def version(as_json: Json = False) -> None:
    """Print the version."""
    from streams.cli.output import emit
    from streams.cli.version import number

    if as_json:
        emit({"version": number()})
    else:
        print(f"sluice {number()}")


@app.callback(help=_ABOUT)
def options(
    verbose: Annotated[bool, typer.Option("--verbose", help="Show libraries' logs and tracebacks.")] = False,
) -> None:
    """Options of every command."""
    # Libraries log each failed try to connect; the command says it once, with what to do.
    logging.basicConfig(level=logging.INFO if verbose else logging.CRITICAL)
