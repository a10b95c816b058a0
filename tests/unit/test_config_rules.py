"""Rules of the configuration that guard the pipeline itself."""

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.codec import Codec
from schemas.config import Config, Limits
from schemas.names import RESULTS
from schemas.records import ContentPart, ResultEvent
from schemas.registry import SchemaStore


def config(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "providers": {"dummy": {"kind": "dummy"}},
        "models": {"echo": {"provider": "dummy", "vendor_model": "echo"}},
        "tenants": {"acme": {}},
        "routes": [{"models": ["echo"]}],
    }
    return base | changes


def test_a_reply_topic_of_sluices_own_is_refused() -> None:
    with pytest.raises(ValidationError, match="begins with 'llm\\.'"):
        Config.model_validate(config(tenants={"acme": {"reply_topics": ["llm.results"]}}))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"defaults": {"deadline_s": 3601}, "limits": {"max_deadline_s": 3600}},
            r"defaults\.deadline_s: it must not",
        ),
        (
            {"defaults": {"dedupe_hours": 1}, "limits": {"max_deadline_s": 3600}},
            r"limits\.max_deadline_s: with",
        ),
        ({"limits": {"max_result_bytes": (2 << 20) + 1}}, r"limits\.max_result_bytes"),
    ],
)
def test_limits_that_cannot_hold_together_are_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Config.model_validate(config(**changes))


def test_the_largest_result_fits_its_topic() -> None:
    """It carries its text twice, and echoes whatever the request may hold."""
    limits = Config.model_validate(config()).limits
    most = Limits.model_fields["max_result_bytes"].metadata[-1].le
    assert limits.max_result_bytes == most
    text, word = "x" * most, "\U0001f600" * 256
    event = ResultEvent(
        event_id=word, kind="terminal", request_id=word, tenant=word, status="succeeded", config_version=word,
        accepted_at=1, completed_at=2, text=text, output=[ContentPart(type="text", text=text)],
        tags=[word[:64]] * 128, metadata={f"{i}{word[:60]}": word for i in range(64)}, application=word,
        user=word, session_id=word, purpose=word, workflow_id=word, reply_topic=word,
    )  # fmt: skip
    assert len(Codec(SchemaStore()).encode(event, RESULTS)) < 6 << 20


def test_a_worker_reads_the_configuration_of_a_newer_version() -> None:
    newer = config(a_field_of_the_future=1, tenants={"acme": {"another": True}})
    assert Config.model_validate(newer).tenants.keys() == {"acme"}
