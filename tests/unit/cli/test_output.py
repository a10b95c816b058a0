"""What people and programs read."""

import json
from decimal import Decimal

import pytest
import typer

from schemas.records import AuditEvent, DeadLetter, Problem, ResultEvent, Usage, UsageEvent
from streams.cli import output
from streams.cli.commands.common import duration_s
from streams.cli.events import dollars, line, seconds, tokens


def test_json_is_one_object_a_line_with_bytes_and_decimals_as_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.emit({"a": Decimal("0.000000010"), "b": b"text", "c": b"\xff\x00", "d": "é\n"})
    [written] = capsys.readouterr().out.splitlines()
    assert json.loads(written) == {"a": "1.0E-8", "b": "text", "c": "base64:/wA=", "d": "é\n"}


def test_a_table_is_never_cut_where_output_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.table("t", ["name", ">count"], [("x" * 150, 3), (None, 4)])
    printed = capsys.readouterr().out
    assert "x" * 150 in printed
    assert "-" in printed


def test_text_that_looks_like_markup_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    output.say("[bold]not markup[/bold] [/]")
    output.table(None, ["a"], [("[red]x[/red]",)])
    printed = capsys.readouterr().out
    assert "[bold]not markup[/bold] [/]" in printed
    assert "[red]x[/red]" in printed


@pytest.mark.parametrize(
    ("text", "found"), [("90", 90), ("30s", 30), ("5m", 300), ("2h", 7200), ("1d", 86400), (None, None)]
)
def test_durations(text: str | None, found: float | None) -> None:
    assert duration_s(text) == found


@pytest.mark.parametrize("text", ["", "soon", "5x", "m"])
def test_a_wrong_duration_is_a_usage_error(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        duration_s(text)


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        (None, "-"),
        (Usage(input_uncached=10, cache_read=5, output=3), "15+3"),
        (Usage(output=3), "?+3"),
        (Usage(input_uncached=1, estimated=True), "~1+?"),
    ],
)
def test_unknown_tokens_are_not_told_as_zero(usage: Usage | None, told: str) -> None:
    assert tokens(usage) == told


def test_costs_and_times_for_people() -> None:
    assert [dollars(c) for c in (None, Decimal("0.000001200"), Decimal("12.5"))] == [
        "unpriced",
        "$0.0000012",
        "$12.50",
    ]
    assert [seconds(0, 1500), seconds(0, 90_000), seconds(None, 5)] == ["1.50 s", "1.5 min", "-"]


COMMON = {"config_version": "v", "tenant": "acme", "request_id": "r1"}


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (
            ResultEvent(
                event_id="e", kind="terminal", status="succeeded", accepted_at=0, completed_at=1000, model="m",
                text="Hello  there", **COMMON,
            ),
            ["succeeded", "acme", "r1", "m", "1.00 s", "Hello there"],
        ),
        (
            ResultEvent(
                event_id="e", kind="terminal", status="rejected", accepted_at=0, completed_at=1,
                problems=[Problem(code="c", message="mend this")], **COMMON,
            ),
            ["rejected", "mend this"],
        ),
        (
            ResultEvent(
                event_id="e", kind="duplicate", status="duplicate", accepted_at=0, completed_at=1,
                original_request_id="first", **COMMON,
            ),
            ["duplicate", "counts: first"],
        ),
        (
            UsageEvent(
                event_id="e", attempt=2, attempt_id="a", tries=1, status="unknown", model="m", accepted_at=0,
                recorded_at=1, usage=Usage(output=4), cost=Decimal("0.5"), **COMMON,
            ),
            ["unknown", "attempt 2", "?+4 tokens", "$0.5"],
        ),
        (
            AuditEvent(
                event_id="e", action="paused", actor="operator:eve", at=1, sequence=1, previous_hash=b"",
                reason="a leak", model="m", **COMMON,
            ),
            ["paused", "m", "a leak", "by operator:eve"],
        ),
        (
            DeadLetter(
                id="llm.requests-0-7", kind="k", stage="s", reason="undecodable", message="not Avro", at=1,
                source_topic="t", source_partition=0, source_offset=7, source_timestamp=1,
            ),
            ["undecodable", "llm.requests-0-7", "not Avro"],
        ),
    ],
)  # fmt: skip
def test_each_event_in_one_line(event: object, told: list[str]) -> None:
    printed = str(line(event))  # type: ignore[arg-type]
    assert "\n" not in printed
    for part in told:
        assert part in printed
