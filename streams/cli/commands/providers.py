"""The commands `providers ...`."""

from pathlib import Path
from typing import Annotated

import typer

from streams.cli.commands.common import SET, Json, run

providers = typer.Typer(help="The providers that models are served by.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(providers, name="providers", rich_help_panel=SET)


@providers.command("test")
def providers_test(
    name: Annotated[
        str | None,
        typer.Argument(help="Only this provider, model or deployment.", show_default=False),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Take this file instead of the active configuration."),
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds for each answer.")] = 30,
    as_json: Json = False,
) -> None:
    """Send one tiny request to each deployment with each key, past Kafka. Exit code 1 if one doesn't answer.

    The calls are real and may be paid for: about 30 tokens each.
    """
    from streams.cli.providers import check_providers

    run(check_providers(name, file, timeout, as_json))
