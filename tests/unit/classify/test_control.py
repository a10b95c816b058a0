"""Commands: which are obeyed, and what the others lack."""

from typing import Any

import pytest

from processors.classify import parse_control
from schemas.config import Config
from schemas.records import CallTask, Control, RequestEvent
from schemas.signals import Invalid

CONFIG = Config.model_validate(
    {
        "providers": {"d": {"kind": "dummy"}},
        "models": {"m": {"provider": "d", "vendor_model": "x", "aliases": ["fast"]}},
        "tenants": {"acme": {}},
        "routes": [{"models": ["m"]}],
    }
)
TASK = CallTask(
    request_id="r1", tenant="acme", attempt=1, attempt_id="a", model="m", lane="standard", task_type="chat",
    accepted_at=1, deadline_at=2, issued_at=1, config_version="v", route_partition=0, input_tokens_estimate=1,
    max_output_tokens=1, request=RequestEvent(id="r1", tenant="acme"),
)  # fmt: skip


def parsed(command: str, **fields: Any) -> Control:
    return parse_control(
        Control(**({"event_id": "e", "at": 1, "actor": "me", "command": command} | fields)), CONFIG
    )


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        ("cancel", {"tenant": "acme", "request_id": "r1"}),
        ("pause", {"tenant": "acme"}),
        ("pause", {"model": "m"}),
        ("resume", {"tenant": "gone"}),
        ("resume", {"model": "gone"}),
        ("resolve", {"tenant": "acme", "request_id": "r1", "resolution": "fail"}),
        ("resolve", {"tenant": "acme", "request_id": "r1", "resolution": "retry", "task": TASK}),
        ("redrive", {"dead_letter_id": "llm.requests-0-1"}),
        ("discard", {"dead_letter_id": "llm.requests-0-1", "reason": "spam"}),
    ],
)
def test_a_whole_command_is_obeyed(command: str, fields: dict[str, Any]) -> None:
    assert parsed(command, **fields).command == command


def test_a_cancel_is_let_through_where_the_call_stage_obeys_it_anyway() -> None:
    """So that route ends the request too, and the audit trail tells of it."""
    assert parsed("cancel", tenant="left-the-configuration", request_id="r1").request_id == "r1"
    first, again = (parsed("cancel", tenant="acme", request_id="r1", event_id="", actor="") for _ in range(2))
    assert (first.actor, first.event_id) == ("unknown", again.event_id) and first.event_id
    others = [{"tenant": "other", "request_id": "r1"}, {"tenant": "acme", "request_id": "r2"}]
    made = {parsed("cancel", event_id="", **fields).event_id for fields in others}
    assert len(made | {first.event_id}) == 3


def test_an_alias_stands_for_its_model() -> None:
    assert parsed("pause", model="fast").model == "m"


@pytest.mark.parametrize(
    ("command", "fields", "reason", "hint"),
    [
        ("explode", {}, "invalid_control", "use one of cancel"),
        ("cancel", {"tenant": "acme"}, "invalid_control", "needs request_id"),
        ("cancel", {"request_id": "r1"}, "invalid_control", "needs tenant"),
        ("pause", {"tenant": "acme", "actor": ""}, "invalid_control", "needs actor"),
        ("pause", {"tenant": "acme", "event_id": ""}, "invalid_control", "needs event_id"),
        ("cancel", {"tenant": "acme", "request_id": "x" * 257}, "invalid_control", "request_id is longer"),
        ("pause", {}, "invalid_control", "either a tenant or a model"),
        ("pause", {"tenant": "acme", "model": "m"}, "invalid_control", "either a tenant or a model"),
        ("pause", {"tenant": "nobody"}, "unknown_tenant", "nobody"),
        ("pause", {"model": "nothing"}, "unknown_model", "use one of m"),
        ("resolve", {"tenant": "acme", "request_id": "r1"}, "invalid_control", "needs resolution"),
        (
            "resolve",
            {"tenant": "acme", "request_id": "r1", "resolution": "no"},
            "invalid_control",
            "retry or fail",
        ),
        (
            "resolve",
            {"tenant": "acme", "request_id": "r1", "resolution": "retry"},
            "invalid_control",
            "set `task`",
        ),
        (
            "resolve",
            {"tenant": "acme", "request_id": "r2", "resolution": "retry", "task": TASK},
            "invalid_control",
            "another request",
        ),
        ("redrive", {}, "invalid_control", "needs dead_letter_id"),
        ("discard", {"dead_letter_id": "d", "reason": "x" * 5000}, "invalid_control", "reason is longer"),
    ],
)
def test_a_command_that_lacks_something_says_what(
    command: str, fields: dict[str, Any], reason: str, hint: str
) -> None:
    with pytest.raises(Invalid) as caught:
        parsed(command, **fields)
    assert caught.value.reason == reason
    assert hint in caught.value.message
