"""Call tasks and models for the tests of OpenAI's wires."""

from typing import Any

import orjson

from processors.providers.base import Adapter
from schemas.config import Model
from schemas.records import CallTask, ContentPart, RequestEvent

MODEL = Model.model_validate({"provider": "p", "vendor_model": "vendor-9"})
DROPPING = Model.model_validate({"provider": "p", "vendor_model": "vendor-9", "unsupported": "drop"})


def task(**request: Any) -> CallTask:
    """A task of a request with these fields; at most 77 tokens of output."""
    return CallTask(
        request_id="r", tenant="t", attempt=1, attempt_id="a", model="m", lane="standard", task_type="chat",
        accepted_at=0, deadline_at=1, issued_at=0, config_version="v", route_partition=0,
        input_tokens_estimate=3, max_output_tokens=77, request=RequestEvent(id="r", tenant="t", **request),
    )  # fmt: skip


def body_of(adapter: Adapter, model: Model = MODEL, **request: Any) -> dict[str, Any]:
    """The body that an adapter makes of a request."""
    return dict(orjson.loads(adapter.encode(task(**request), model).body))


def text(value: str, **fields: Any) -> ContentPart:
    """A part of text."""
    return ContentPart(type="text", text=value, **fields)
