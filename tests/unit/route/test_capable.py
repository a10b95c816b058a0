"""Requests go to models that can serve them; where none can, the result says what to change."""

from typing import Any

import pytest

from processors.route.capable import capable
from schemas.config import Config
from schemas.records import ContentPart, Message, RequestEvent, ResponseFormat, Tool

TEXT = {"modalities": ["text"], "tools": False, "json_schema": False}


def config(**models: dict[str, Any]) -> Config:
    return Config.model_validate(
        {
            "providers": {"p": {"kind": "dummy"}},
            "models": {n: {"provider": "p", "vendor_model": "v", **told} for n, told in models.items()},
            "tenants": {"t": {}},
            "routes": [{"models": ["seer"]}],
        }
    )


CONFIG = config(
    seer={"capabilities": {"modalities": ["text", "image"], "tools": True, "json_schema": True}},
    reader={"capabilities": TEXT},
    unknown={},
    small={"context_window": 1000},
)


def request(*parts: ContentPart, **more: Any) -> RequestEvent:
    return RequestEvent(messages=[Message(role="user", content=list(parts))], **more)


IMAGE = request(ContentPart(type="image", data=b"x"))
TOOLS = request(ContentPart(type="text", text="x"), tools=[Tool(name="t")])
SCHEMA = request(response_format=ResponseFormat(type="json_schema", json_schema="{}"))


@pytest.mark.parametrize("asked", [IMAGE, TOOLS, SCHEMA])
def test_a_model_that_cannot_is_passed_over(asked: RequestEvent) -> None:
    assert capable(["reader", "unknown", "seer"], asked, CONFIG, []) == ["unknown", "seer"]


def test_what_to_change_is_told_where_none_can() -> None:
    told = capable(["reader"], IMAGE, CONFIG, ["reader", "seer", "small"])
    assert not isinstance(told, list)
    assert (told.code, told.field) == ("not_capable", "model")
    assert told.message == (
        "reader can't take image: leave the images out, or name a model that can: seer, small"
    )


def test_a_prompt_that_is_too_long_for_one_goes_to_another() -> None:
    long = request(ContentPart(type="text", text="some words of a text " * 1000))
    assert capable(["small", "seer"], long, CONFIG, []) == ["seer"]
    told = capable(["small"], long, CONFIG, [])
    assert not isinstance(told, list)
    assert told.code == "context_exceeded" and "small holds 1000 tokens" in told.message


def test_a_prompt_that_may_fit_is_sent() -> None:
    """An estimate alone doesn't refuse what the model might take."""
    nearly = request(ContentPart(type="text", text="some words of a text " * 200))
    assert capable(["small"], nearly, CONFIG, []) == ["small"]
