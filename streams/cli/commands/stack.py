"""Commands that run things: up, down, status, doctor, demo, worker."""

from pathlib import Path
from typing import Annotated

import typer

from streams.cli.commands.common import RUN, Json

worker = typer.Typer(help="Run a worker in the foreground.", no_args_is_help=True)
ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="Configuration to publish; the example where left out.")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command(rich_help_panel=RUN)(up)
    app.command(rich_help_panel=RUN)(down)
    app.command(rich_help_panel=RUN)(status)
    app.command(rich_help_panel=RUN)(doctor)
    app.command(rich_help_panel=RUN)(demo)
    app.add_typer(worker, name="worker", rich_help_panel=RUN)


def up(
    config: ConfigFile = None,
    workers: Annotated[bool, typer.Option(help="Start the workers too.")] = True,
    model: Annotated[bool, typer.Option(help="Start the small model server.")] = True,
    as_json: Json = False,
) -> None:
    """Start everything on this machine, in the background; returns when it is ready.

    Safe to repeat: what runs already is left alone, what doesn't answer is started anew.
    """
    from streams.cli.lifecycle import bring_up

    bring_up(config, with_workers=workers, with_model=model, as_json=as_json)


def down(
    workers_only: Annotated[
        bool, typer.Option("--workers-only", help="Leave Kafka and the rest up.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Stop what `sluice up` started: workers drain first. Data stays for the next `up`."""
    from streams.cli.lifecycle import take_down

    take_down(workers_only=workers_only, as_json=as_json)


def status(
    proof: Annotated[
        bool,
        typer.Option(
            "--proof",
            help="Also compare accepted, terminal and stored requests, by number and id. Reads whole topics.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show each part and worker: up, ready, restarts, lag.

    With --proof, exit code 1 also where a request is missing somewhere, or is there twice.
    """
    from streams.cli.commands.common import run
    from streams.cli.status import show

    run(show(as_json, proof))


def doctor(as_json: Json = False) -> None:
    """Check each part and say in one line how to mend what is wrong. Exit code 1 if something is."""
    from streams.cli.commands.common import run
    from streams.cli.doctor import examine

    run(examine(as_json))


def demo(
    requests: Annotated[
        int, typer.Option("--requests", "-n", min=12, help="Good requests; bad ones come on top.")
    ] = 60,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running afterwards.")] = False,
    as_json: Json = False,
) -> None:
    """Run the whole journey on real parts and prove the counts: three services, two tenants, one model."""
    from streams.demo.run import demonstrate

    demonstrate(requests, keep=keep, as_json=as_json)


@worker.command("classify")
def worker_classify() -> None:
    """Decode, validate and classify requests."""
    _one("classify")


@worker.command("route")
def worker_route() -> None:
    """Decide about requests: the single writer of each tenant."""
    _one("route")


@worker.command("call")
def worker_call() -> None:
    """Call the providers."""
    _one("call")


@worker.command("sink")
def worker_sink() -> None:
    """Write events to ClickHouse."""
    _one("sink")


@worker.command("relay")
def worker_relay() -> None:
    """Copy results to reply topics."""
    _one("relay")


@worker.command("all")
def worker_all() -> None:
    """Run one process a stage and start crashed ones again, until Ctrl-C or SIGTERM."""
    from streams.cli.lifecycle import supervise

    supervise()


def _one(stage: str) -> None:
    from streams.cli.lifecycle import run_stage

    run_stage(stage)
