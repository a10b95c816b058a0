"""The command `models`."""

from pathlib import Path
from typing import Annotated

import typer

from streams.cli.commands.common import SET, Json, run


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("models", rich_help_panel=SET)(models)


def models(
    name: Annotated[
        str | None, typer.Argument(help="Only this model or alias, with all of its prices.", show_default=False)
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Take this file instead of the active configuration."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the models: where they are served, what they can, what they cost, when they retire."""
    from streams.cli.models import show_models

    run(show_models(name, file, as_json))
