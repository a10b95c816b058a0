"""What the demo publishes is what the issue asks for, and what it expects follows from that."""

import sys
from pathlib import Path

import pytest

from schemas.codec import Codec
from schemas.records import RequestEvent, ResultEvent
from schemas.registry import SchemaStore, UnknownSchemaId
from schemas.signals import Invalid
from streams.config_file import load_config
from streams.demo import report
from streams.demo.requests import REPLY_TOPIC, TENANTS, plan
from streams.demo.run import _surprises, expected
from streams.demo.watch import Seen

CODEC = Codec(SchemaStore())
CONFIG = load_config(
    Path(__file__).parents[2] / "config" / "sluice.yaml", {"SLUICE_MODEL_URL": "http://m/v1"}
)


def test_the_plan_has_three_services_two_tenants_and_every_kind_of_bad_input() -> None:
    planned = plan(CODEC, "run", 60)
    real = [CODEC.decode(p.value, RequestEvent) for p in planned if p.ends == "succeeded"]
    assert len(real) == 60
    assert {r.application for r in real} == {"loans", "complaints", "chat"}
    assert {r.task_type for r in real} == {"extraction", "classification", "chat"}
    assert {r.tenant for r in real} == set(TENANTS) <= CONFIG.tenants.keys()
    assert {r.reply_topic for r in real if r.reply_topic} == {REPLY_TOPIC}
    assert REPLY_TOPIC in CONFIG.tenants["borealis-bank"].reply_topics
    assert len({r.id for r in real}) == 60
    assert {p.service for p in planned if p.ends != "succeeded"} == {
        "json", "truncated", "noise", "foreign-schema", "null", "stranger", "unnamed",
        "oversize", "no-such-model", "hot", "far", "late", "chat",
    }  # fmt: skip


def test_dead_letters_of_the_plan_are_no_requests_of_known_tenants() -> None:
    for planned in plan(CODEC, "run", 12):
        if planned.ends != "dead letter":
            continue
        try:
            request = CODEC.decode(planned.value, RequestEvent)
        except (Invalid, UnknownSchemaId):
            continue
        assert request.tenant not in CONFIG.tenants


def test_expected_counts_follow_from_the_plan() -> None:
    totals = expected(plan(CODEC, "run", 60))
    assert list(totals.values()) == [73, 65, 65, 60, 65, 65]


def result(request_id: str, status: str) -> ResultEvent:
    return ResultEvent(
        event_id="e", kind="terminal", request_id=request_id, tenant="t", status=status, config_version="v",
        accepted_at=0, completed_at=1,
    )  # fmt: skip


def test_what_is_missing_or_ended_otherwise_is_named() -> None:
    planned = plan(CODEC, "run", 12)
    seen = Seen("run")
    must = [p for p in planned if p.request_id and p.ends not in ("duplicate", "dead letter")]
    for p in must:
        seen.take(result(p.request_id or "", p.ends))
    seen.dead_letters = {str(n) for n in range(7)}
    assert _surprises(planned, seen) == {}
    first = must[0].request_id or ""
    del seen.results[first]
    assert _surprises(planned, seen) == {"no terminal result": [first]}
    seen.take(result(first, "failed"))
    assert _surprises(planned, seen) == {"ended otherwise than planned": [f"{first} failed"]}
    seen.dead_letters.pop()
    assert "dead letters missing" in _surprises(planned, seen)


def test_the_next_steps_are_commands_of_this_very_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / ".venv" / "bin" / "sluice"), "demo"])
    monkeypatch.setenv("PATH", "/nonexistent")
    report.show_next("/home", False, "demo-1")
    told = capsys.readouterr().out
    for command in ("up", "query", "trace demo-1", "submit", "dead-letters list"):
        assert f" .venv/bin/sluice {command}" in told
    assert "`.venv/bin/sluice up` opens it again" in told


def test_requests_of_others_are_not_counted() -> None:
    seen = Seen("run")
    seen.take(result("another-request", "succeeded"))
    assert not seen.results
