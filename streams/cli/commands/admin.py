"""Commands that set things: topics, config, pause, resume."""

from pathlib import Path
from typing import Annotated

import typer

from streams.cli.commands.common import SET, Json, Reason, run

topics = typer.Typer(help="The Kafka topics.", no_args_is_help=True)
config = typer.Typer(help="The configuration: models, providers, tenants, routes.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(help="A YAML file, such as config/sluice.yaml.")]
OptionalFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="Take this file instead of the active configuration.")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.add_typer(topics, name="topics", rich_help_panel=SET)
    app.add_typer(config, name="config", rich_help_panel=SET)
    app.command(rich_help_panel=SET)(pause)
    app.command(rich_help_panel=SET)(resume)


@topics.command("apply")
def topics_apply(file: OptionalFile = None, as_json: Json = False) -> None:
    """Create missing topics, settle their settings, register the schemas. Refuses what would lose order."""
    from streams.cli.topics import apply_topics

    run(apply_topics(file, as_json))


@topics.command("diff")
def topics_diff(file: OptionalFile = None, as_json: Json = False) -> None:
    """Show what `topics apply` would change. Exit code 1 if anything."""
    from streams.cli.topics import diff_topics

    run(diff_topics(file, as_json))


@config.command("check")
def config_check(file: File, as_json: Json = False) -> None:
    """Check a file and say what is wrong, by line and field. Changes nothing."""
    from streams.cli.topics import check_config

    check_config(file, as_json)


@config.command("apply")
def config_apply(file: File, as_json: Json = False) -> None:
    """Publish a file: running workers take it up at once. A wrong file changes nothing."""
    from streams.cli.topics import apply_config

    run(apply_config(file, as_json))


@config.command("show")
def config_show(as_json: Json = False) -> None:
    """Show the active configuration. Secrets appear as references only."""
    from streams.cli.topics import show_config

    run(show_config(as_json))


Name = Annotated[str, typer.Argument(metavar="MODEL|TENANT", help="Model id or alias, or tenant.")]
AsTenant = Annotated[
    bool, typer.Option("--tenant", help="The name is a tenant's, though a model has it too.")
]
AsModel = Annotated[bool, typer.Option("--model", help="The name is a model's, though a tenant has it too.")]


def pause(
    name: Name,
    as_tenant: AsTenant = False,
    as_model: AsModel = False,
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Kill switch: start no further calls of a model or tenant. Work waits until its deadline."""
    from streams.cli.control import switch

    run(switch("pause", name, _kind(as_tenant, as_model), reason, as_json))


def resume(
    name: Name,
    as_tenant: AsTenant = False,
    as_model: AsModel = False,
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Let a paused model or tenant go on."""
    from streams.cli.control import switch

    run(switch("resume", name, _kind(as_tenant, as_model), reason, as_json))


def _kind(as_tenant: bool, as_model: bool) -> str | None:
    if as_tenant and as_model:
        raise typer.BadParameter("say --tenant or --model, not both")
    return "tenant" if as_tenant else "model" if as_model else None
