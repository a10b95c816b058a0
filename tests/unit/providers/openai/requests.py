"""Requests that use all that the canonical form has, for contract tests of several wires."""

from typing import Any

from schemas.records import ContentPart, Message, Parameters, ResponseFormat, Tool
from tests.unit.providers.openai.tasks import text

SCHEMA = (
    '{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}'
)
LOOK = Tool(name="look", description="Looks it up.", input_schema=SCHEMA)
PNG = ContentPart(type="image", data=b"\x89PNG", media_type="image/png")
PDF = ContentPart(type="document", data=b"%PDF", media_type="application/pdf")
WAV = ContentPart(type="audio", data=b"RIFF", media_type="audio/x-wav")
CALL = ContentPart(type="tool_call", tool_call_id="c1", tool_name="look", arguments='{"a":1}')
RESULT = ContentPart(type="tool_result", tool_call_id="c1", text="found")
SEEN = ContentPart(type="tool_result", tool_call_id="c1", data=b"\x89PNG", media_type="image/png")
TALK = [
    Message(role="system", content=[text("Be brief.")]),
    Message(role="user", content=[text("Find it.", cache="ephemeral")]),
    Message(role="assistant", content=[ContentPart(type="thinking", text="hm"), text("Wait."), CALL]),
    Message(role="tool", content=[RESULT]),
    Message(role="assistant", content=[text("Found.")]),
]

REQUESTS: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": "hi", "system": "be kind"},
    "media": {"prompt": "look", "content": [PNG, PDF]},
    "image by reference": {"content": [ContentPart(type="image", uri="https://x.example/y.png")]},
    "conversation": {"messages": TALK, "prompt": "And now?"},
    "parameters": {
        "prompt": "x",
        "parameters": Parameters(
            temperature=0.5, top_p=0.9, service_tier="flex", extra={"metadata": '{"k":"v"}'}
        ),
    },
    "reasoning": {"prompt": "x", "parameters": Parameters(reasoning_effort="low")},
    "tools": {"prompt": "x", "tools": [LOOK], "tool_choice": "required", "parallel_tool_calls": False},
    "one tool": {"prompt": "x", "tools": [LOOK, Tool(name="ask")], "tool_choice": "look"},
    "schema": {
        "prompt": "x",
        "response_format": ResponseFormat(type="json_schema", name="n", json_schema=SCHEMA, strict=True),
    },
    "json": {"prompt": "x", "response_format": ResponseFormat(type="json")},
    "result with image": {"messages": [*TALK[1:3], Message(role="tool", content=[RESULT, SEEN])]},
}
