"""Commands about requests and results: submit, tail, trace, query."""

from pathlib import Path
from typing import Annotated

import typer

from streams.cli.commands.common import WORK, Json, TenantOption, duration_s, run

tail = typer.Typer(help="Print events as they come, decoded.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command(rich_help_panel=WORK)(submit)
    app.add_typer(tail, name="tail", rich_help_panel=WORK)
    app.command(rich_help_panel=WORK)(trace)
    app.command(rich_help_panel=WORK)(query)
    app.command(rich_help_panel=WORK)(cancel)


def submit(
    prompt: Annotated[str | None, typer.Argument(help="The prompt. `-` reads it from stdin.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="JSON Lines, one request a line; `-` is stdin.")
    ] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="Who asks (and pays).")] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Model id or alias; else routed.")
    ] = None,
    system: Annotated[str | None, typer.Option("--system", help="System prompt.")] = None,
    lane: Annotated[str | None, typer.Option("--lane", help="interactive, standard or batch.")] = None,
    task_type: Annotated[str | None, typer.Option("--task-type", help="Hint for routing.")] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", min=1, help="Longest answer.")] = None,
    temperature: Annotated[float | None, typer.Option("--temperature", help="Sampling temperature.")] = None,
    deadline: Annotated[str | None, typer.Option("--deadline", "-d", help="Such as 30s, 5m, 2h.")] = None,
    request_id: Annotated[str | None, typer.Option("--id", help="Request id; else a new one.")] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for the results.")] = False,
    timeout: Annotated[str, typer.Option("--timeout", help="How long --wait waits at most.")] = "10m",
    as_json: Json = False,
) -> None:
    """Publish one request, or a file of them.

    With --wait the exit code is 0 only if every request succeeded.
    """
    from streams.cli.request_files import Given
    from streams.cli.submit import submit_all

    given = Given(
        prompt=prompt,
        file=file,
        fields={"id": request_id, "tenant": tenant, "model": model, "system": system, "lane": lane}
        | {"task_type": task_type},
        parameters={"max_tokens": max_tokens, "temperature": temperature},
        deadline_s=duration_s(deadline),
    )
    run(submit_all(given, wait_s=(duration_s(timeout) or 0) if wait else None, as_json=as_json))


RequestOption = Annotated[str | None, typer.Option("--request", "-r", help="Only this request's.")]
Since = Annotated[
    str | None, typer.Option("--since", "-s", help="From this long ago, such as 10m; 0 for now.")
]
All = Annotated[bool, typer.Option("--all", "-a", help="From the beginning.")]
Stop = Annotated[bool, typer.Option("--no-follow", help="End at the end of what is there.")]
Limit = Annotated[int | None, typer.Option("--limit", "-n", min=1, help="Stop after this many.")]


def _tail(
    kind: str, tenant: str | None, request: str | None, since: str | None, start: bool, stop: bool,
    limit: int | None, as_json: bool,
) -> None:  # fmt: skip
    from streams.cli.tail import Filter, follow

    wanted = Filter(tenant=tenant, request_id=request, limit=limit)
    run(follow(kind, wanted, since_s=duration_s(since), from_start=start, stop_at_end=stop, as_json=as_json))


@tail.command("results")
def tail_results(
    tenant: TenantOption = None, request: RequestOption = None, since: Since = None, start: All = False,
    stop: Stop = False, limit: Limit = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Terminal results and notices (llm.results)."""
    _tail("results", tenant, request, since, start, stop, limit, as_json)


@tail.command("usage")
def tail_usage(
    tenant: TenantOption = None, request: RequestOption = None, since: Since = None, start: All = False,
    stop: Stop = False, limit: Limit = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Tokens and cost of each settled attempt (llm.usage)."""
    _tail("usage", tenant, request, since, start, stop, limit, as_json)


@tail.command("audit")
def tail_audit(
    tenant: TenantOption = None, request: RequestOption = None, since: Since = None, start: All = False,
    stop: Stop = False, limit: Limit = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Decisions and operators' actions (llm.audit)."""
    _tail("audit", tenant, request, since, start, stop, limit, as_json)


@tail.command("dead-letters")
def tail_dead_letters(
    tenant: TenantOption = None, request: RequestOption = None, since: Since = None, start: All = False,
    stop: Stop = False, limit: Limit = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Events that could not be processed (llm.dead-letters)."""
    _tail("dead-letters", tenant, request, since, start, stop, limit, as_json)


def trace(
    request_id: Annotated[str, typer.Argument(help="The request's id.")],
    tenant: TenantOption = None,
    as_json: Json = False,
) -> None:
    """Tell everything that happened to one request, in order."""
    from streams.cli.trace import tell

    run(tell(request_id, tenant, as_json))


def query(
    sql: Annotated[str, typer.Argument(help="A query. `-` reads it from stdin.")],
    as_json: Json = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV with a header line.")] = False,
) -> None:
    """Run a read-only SQL query in ClickHouse."""
    from streams.cli.query import run_query

    run(run_query(sql, "json" if as_json else "csv" if csv else "table"))


def cancel(
    request_id: Annotated[str, typer.Argument(help="The request's id.")],
    tenant: Annotated[
        str | None, typer.Option("--tenant", "-t", help="Its tenant; looked up if left out.")
    ] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why, for the audit trail.")] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for the terminal result.")] = False,
    as_json: Json = False,
) -> None:
    """Cancel a request: it ends as cancelled unless it has ended already."""
    from streams.cli.control import cancel_request

    run(cancel_request(request_id, tenant, reason, wait=wait, as_json=as_json))
