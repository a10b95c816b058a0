"""What the demo prints at its end: tables read from ClickHouse, a few answers, and what to try next."""

from typing import Any, Final

from schemas.records import ResultEvent
from streams.cli import output
from streams.cli.clickhouse import ClickHouse
from streams.cli.program import program

_BY_MODEL: Final = """
SELECT tenant, if(model = '', '(none)', toString(model)) AS model_id, count() AS requests,
       countIf(status = 'succeeded') AS succeeded,
       countIf(status = 'rejected') AS rejected, countIf(status = 'expired') AS expired,
       countIf(status = 'failed') AS failed,
       sum(ifNull(input_uncached_tokens, 0) + ifNull(cache_read_tokens, 0)
           + ifNull(cache_write_tokens, 0)) AS sent,
       sum(ifNull(output_tokens, 0)) AS received, sum(ifNull(cost, 0)) AS dollars,
       quantileExactIf(0.5)(toUnixTimestamp64Milli(completed_at) - toUnixTimestamp64Milli(accepted_at),
                            status = 'succeeded') AS p50_ms,
       quantileExactIf(0.95)(toUnixTimestamp64Milli(completed_at) - toUnixTimestamp64Milli(accepted_at),
                             status = 'succeeded') AS p95_ms
FROM results WHERE startsWith(request_id, {run:String})
GROUP BY tenant, model_id ORDER BY tenant, model_id"""

_REFUSED: Final = """
SELECT request_id, status, error_message,
       if(length(problems) > 0, arrayStringConcat(problems, ', '), toString(error_class)) AS code
FROM results WHERE startsWith(request_id, {run:String}) AND status != 'succeeded' ORDER BY request_id"""

_DEAD_LETTERS: Final = """
SELECT reason, count() AS letters, any(message) AS example
FROM dead_letters WHERE has({ids:Array(String)}, id) GROUP BY reason ORDER BY reason"""


async def tables(clickhouse: ClickHouse, run: str, letters: set[str]) -> dict[str, list[dict[str, Any]]]:
    """The rows of the three tables."""
    ids = "[" + ",".join(f"'{i}'" for i in sorted(letters)) + "]"
    return {
        "by_model": await clickhouse.rows(_BY_MODEL, {"run": run}),
        "refused": await clickhouse.rows(_REFUSED, {"run": run}),
        "dead_letters": await clickhouse.rows(_DEAD_LETTERS, {"ids": ids}),
    }


def show_tables(found: dict[str, list[dict[str, Any]]]) -> None:
    """Print them."""
    by_model = [
        (
            r["tenant"],
            r["model_id"],
            r["requests"],
            r["succeeded"],
            int(r["requests"]) - int(r["succeeded"]),
            r["sent"],
            r["received"],
            f"{float(r['dollars']):.6f}",
            _seconds(r["p50_ms"], r["succeeded"]),
            _seconds(r["p95_ms"], r["succeeded"]),
        )
        for r in found["by_model"]
    ]
    columns = [
        "tenant",
        "model",
        ">requests",
        ">succeeded",
        ">other",
        ">tokens in",
        ">tokens out",
        ">cost ($)",
    ]
    output.table("requests, tokens, cost and latency", [*columns, ">p50", ">p95"], by_model)
    refused = [
        (r["request_id"], r["status"], output.short(r["error_message"] or r["code"], 100))
        for r in found["refused"]
    ]
    output.table("refused with a result that says what to fix", ["request", "status", "why"], refused)
    letters = [(r["reason"], r["letters"], output.short(r["example"], 100)) for r in found["dead_letters"]]
    output.table(
        "dead letters: never a request of a known tenant", ["reason", ">count", "for example"], letters
    )


def _seconds(ms: Any, succeeded: Any) -> str:
    return f"{float(ms) / 1000:.2f} s" if int(succeeded) else "-"


def show_answers(answers: dict[str, ResultEvent]) -> None:
    """One answer of each service."""
    rows = [(service, output.short(event.text, 100)) for service, event in sorted(answers.items())]
    output.table("one answer of each service", ["service", "answer"], rows)
    output.say(
        "SmolLM2 has 135 million parameters: its answers are weak. What is shown here is the way they took.",
        "dim",
    )


def show_next(home: str, running: bool, an_id: str) -> None:
    """How to go on, in commands that this shell understands."""
    sluice = program()
    first = "it keeps running; end it with" if running else "keep it running"
    lines = [
        (first, "down" if running else "up"),
        ("ask ClickHouse", 'query "SELECT status, count() FROM results GROUP BY status"'),
        ("one request's story", f"trace {an_id}"),
        ("send one yourself", 'submit "Say hello" --tenant acme-lending --wait'),
        ("see what was refused", "dead-letters list"),
    ]
    output.say("what next", "bold")
    for what, command in lines:
        output.say(f"  {what:<30} {sluice} {command}")
    if not running:
        output.say(
            f"all data stays in {home}: `{sluice} up` opens it again, and then the commands above work", "dim"
        )
