"""The story of a request: order, repetition, completeness."""

import json
from typing import Any

import pytest

from streams.cli import steps
from streams.cli.steps import Step


def audit(action: str, at: int, **more: Any) -> Step:
    row = {
        "attempt": None,
        "model": None,
        "reason": None,
        "actor": "route",
        "status": None,
        "details": "{}",
        **more,
    }
    return steps.audit({"action": action, "at": at, **row})


def attempt(number: int, phase: str, at: int) -> Step:
    return steps.attempt({"at": at, "phase": phase, "attempt": number, "try": 1, "model": "m", "worker": "w"})


def usage(number: int, at: int, **more: Any) -> Step:
    row = {
        "recorded_at": at, "status": "succeeded", "attempt": number, "tries": 1, "input_uncached": 3,
        "cache_read": None, "cache_write": None, "output": None, "cost": None,
        "error_class": None, "corrects": None, "estimated": False,
    }  # fmt: skip
    return steps.usage(row | more)


def result(status: str, at: int) -> Step:
    row = {"model": "m", "attempts": 1, "error_class": "", "error_message": "", "finish_reason": "stop"}
    row["reply_topic"] = "replies"
    return steps.result(
        {"completed_at": at, "accepted_at": 0, "status": status, "original_request_id": "", **row}
    )


WHOLE = [
    audit("accepted", 10),
    attempt(1, "started", 11),
    attempt(1, "done", 20),
    audit("finalised", 21),
    usage(1, 21),
    result("succeeded", 21),
]


def test_a_life_is_told_in_order_each_event_once() -> None:
    told = steps.in_order([*reversed(WHOLE), WHOLE[1]])
    assert [(s.stage, s.what) for s in told] == [
        ("route", "accepted"),
        ("call", "started"),
        ("call", "done"),
        ("route", "finalised"),
        ("usage", "succeeded"),
        ("result", "succeeded"),
    ]


@pytest.mark.parametrize("missing", [0, 3, 4, 5])
def test_a_life_with_a_piece_missing_is_not_complete(missing: int) -> None:
    assert steps.complete(WHOLE)
    assert not steps.complete([s for n, s in enumerate(WHOLE) if n != missing])


def test_a_second_attempt_without_usage_is_not_complete() -> None:
    assert not steps.complete([*WHOLE, attempt(2, "started", 30)])


def test_a_rejected_request_needs_no_attempt() -> None:
    assert steps.complete([audit("accepted", 1), audit("finalised", 1), result("rejected", 1)])


ACCEPTED = {
    "source_topic": "llm.requests",
    "source_partition": 2,
    "source_offset": 9,
    "deadline_at": 86_400_000,
    "why": "named in the request",
}


def test_a_publication_is_told_by_its_place_and_kafka_s_time() -> None:
    step = steps.published({"accepted_at": 7, "details": json.dumps(ACCEPTED)})
    assert (step.at, step.stage, step.what) == (7, "request", "published")
    assert step.details == {"place": "llm.requests-2-9"}
    together = steps.in_order([audit("accepted", 7), Step(7, "classify", "classified"), step])
    assert [s.what for s in together] == ["published", "classified", "accepted"]


def test_an_acceptance_tells_the_deadline_and_a_retry_its_earliest_start() -> None:
    accepted = audit("accepted", 1, details=json.dumps(ACCEPTED))
    assert accepted.details == {"why": "named in the request", "deadline": "1970-01-02T00:00:00.000Z"}
    retried = audit("retried", 1, details='{"not_before": 1500}')
    assert retried.details == {steps.NOT_BEFORE: "1970-01-01T00:00:01.500Z"}
    assert "deadline" not in audit("accepted", 1, details=f'{{"deadline_at": {2**62}}}').details


def test_unknown_output_is_not_told_as_zero() -> None:
    assert "3 in, ? out" in usage(1, 1).text
    assert "0 out" in usage(1, 1, output=0).text


def test_only_an_operator_is_named() -> None:
    assert "by" not in audit("accepted", 1).text
    assert "by operator:eve" in audit("paused", 1, actor="operator:eve").text


@pytest.mark.parametrize("details", ["", "[]", "{not json", '{"why": "first"}'])
def test_details_of_any_form_are_borne(details: str) -> None:
    assert audit("accepted", 1, details=details).what == "accepted"


def test_rows_and_queries_agree() -> None:
    for make, query in steps.QUERIES.values():
        assert callable(make)
        assert "{id:String}" in query and "{tenant:String}" in query
