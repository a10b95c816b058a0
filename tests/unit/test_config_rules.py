"""Rules of the configuration that guard the pipeline itself."""

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.config import Config


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


def test_a_worker_reads_the_configuration_of_a_newer_version() -> None:
    newer = config(a_field_of_the_future=1, tenants={"acme": {"another": True}})
    assert Config.model_validate(newer).tenants.keys() == {"acme"}
