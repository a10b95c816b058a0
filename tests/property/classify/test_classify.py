"""Whatever a request or a command holds, classify answers; what it lets through can be encoded and is bounded."""

from contextlib import suppress

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.classify import classify, parse_control
from processors.route.emit import Source
from schemas.codec import Codec
from schemas.config import Config
from schemas.records import ClassifiedRequest, Control, RequestEvent
from schemas.registry import SchemaStore
from schemas.signals import Invalid
from tests.strategies import int64, records

CODEC = Codec(SchemaStore())
CONFIG = Config.model_validate(
    {
        "limits": {"max_prompt_bytes": 50},
        "providers": {"d": {"kind": "dummy"}},
        "models": {"m": {"provider": "d", "vendor_model": "x"}},
        "tenants": {"acme": {}},
        "routes": [{"models": ["m"]}],
    }
)
sources = st.builds(
    Source, st.just("llm.requests"), st.integers(0, 11), st.integers(0, 2**40), st.integers(0, 2**42)
)
tenants = st.sampled_from(["acme", "acme", "acme", "", "nobody"])
requests = st.builds(lambda r, t: msgspec.structs.replace(r, tenant=t), records(RequestEvent), tenants)


@settings(max_examples=400)
@given(requests, sources, int64 | st.none())
def test_any_request_is_classified_or_nobodys(
    event: RequestEvent, source: Source, deadline: int | None
) -> None:
    event = msgspec.structs.replace(event, deadline_at=deadline)
    before = msgspec.json.encode(event)
    try:
        result = classify(event, source, CONFIG, "v")
    except Invalid as invalid:
        assert event.tenant != "acme"
        assert invalid.reason in ("missing_tenant", "unknown_tenant")
        return
    assert msgspec.json.encode(event) == before, "the event itself is left as it was"
    assert CODEC.decode(CODEC.encode(result), ClassifiedRequest) == result
    assert 0 < result.deadline_at <= source.timestamp + CONFIG.limits.max_deadline_s * 1000
    assert result.request.id and len(result.request.id) <= 256
    assert result.lane in ("interactive", "standard", "batch")
    assert len(result.body_hash) == 16
    if result.problems:
        assert all(problem.message and problem.code for problem in result.problems)
        assert not result.request.messages
    else:
        assert result.request.messages and result.request.prompt is None
        assert result.features["content_bytes"] <= 50


@given(requests, sources)
def test_classifying_again_gives_the_same(event: RequestEvent, source: Source) -> None:
    """A crash before the commit makes classify repeat itself; route tells the repeat by what it carries."""
    with suppress(Invalid):
        assert classify(event, source, CONFIG, "v") == classify(event, source, CONFIG, "v")


@given(
    records(Control), st.sampled_from(["cancel", "pause", "resume", "resolve", "redrive", "discard", None])
)
def test_any_command_is_obeyed_or_invalid(event: Control, command: str | None) -> None:
    if command is not None:
        event = msgspec.structs.replace(event, command=command)
    try:
        result = parse_control(event, CONFIG)
    except Invalid as invalid:
        assert invalid.reason in ("invalid_control", "unknown_tenant", "unknown_model")
    else:
        assert result.event_id and result.actor
