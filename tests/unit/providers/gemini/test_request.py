"""Requests as Google wants them; every body here is what Google's own SDK would send."""

from typing import Any

import orjson
import pytest

from processors.providers.gemini.adapter import GeminiDecoder
from processors.providers.gemini.models import NO_SIGNATURE
from schemas.records import ContentPart, Message, Parameters, ResponseFormat, Tool
from schemas.signals import Invalid
from tests.fuzz_providers import FIXTURES
from tests.unit.providers.gemini.sdk import body, encoded

PNG = b"\x89PNG"
LOOK = Tool(
    name="look", description="Looks.", input_schema='{"type":"object","properties":{"a":{"type":"integer"}}}'
)
SIGNED = "c2lnbmVk"


def text(value: str, **fields: Any) -> ContentPart:
    return ContentPart(type="text", text=value, **fields)


def call(id_: str, name: str = "look", **fields: Any) -> ContentPart:
    return ContentPart(type="tool_call", tool_call_id=id_, tool_name=name, arguments='{"a":1}', **fields)


def result(id_: str, value: str | None = "found", **fields: Any) -> ContentPart:
    return ContentPart(type="tool_result", tool_call_id=id_, text=value, **fields)


def said(role: str, *parts: ContentPart) -> Message:
    return Message(role=role, content=list(parts))


def test_a_prompt() -> None:
    request = encoded(prompt="hello", system="be brief")
    assert (request.method, request.path) == (
        "POST", "/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    )  # fmt: skip
    assert request.headers == {"content-type": "application/json"} and request.dropped == ()
    assert body(prompt="hello", system="be brief") == {
        "contents": [{"role": "user", "parts": [{"text": "hello"}]}],
        "systemInstruction": {"parts": [{"text": "be brief"}]},
        "generationConfig": {"maxOutputTokens": 4096},
    }


@pytest.mark.parametrize(
    ("vendor_model", "path"),
    [
        ("gemini-2.5-pro", "/publishers/google/models/gemini-2.5-pro"),
        ("publishers/meta/models/llama-4", "/publishers/meta/models/llama-4"),
        ("endpoints/123", "/endpoints/123"),
    ],
)
def test_where_vertex_has_a_model(vendor_model: str, path: str) -> None:
    sent = encoded(vendor_model, vertex=True, prompt="x")
    assert sent.path == f"{path}:streamGenerateContent?alt=sse"


def test_vertex_gets_the_same_body() -> None:
    assert body("gemini-2.5-pro", vertex=True, prompt="x", tools=[LOOK]) == body(
        "gemini-2.5-pro", prompt="x", tools=[LOOK]
    )


def test_sampling_parameters() -> None:
    wanted = Parameters(
        temperature=0.0, top_p=0.9, top_k=40, seed=7, stop=["END"], frequency_penalty=0.5, presence_penalty=-0.5,
        service_tier="flex", max_tokens=9999,
    )  # fmt: skip
    sent = body(prompt="x", parameters=wanted)
    assert sent["generationConfig"] == {
        "temperature": 0.0, "topP": 0.9, "topK": 40, "seed": 7, "frequencyPenalty": 0.5, "presencePenalty": -0.5,
        "stopSequences": ["END"], "maxOutputTokens": 4096,
    }  # fmt: skip
    assert sent["serviceTier"] == "flex"


@pytest.mark.parametrize(
    ("vendor_model", "wanted", "config"),
    [
        (
            "gemini-3-pro-preview",
            {"reasoning_effort": "low"},
            {"thinkingLevel": "LOW", "includeThoughts": True},
        ),
        ("gemini-3.1-flash", {"reasoning_effort": "none"}, {"thinkingLevel": "MINIMAL"}),
        (
            "gemini-flash-latest",
            {"reasoning_effort": "high"},
            {"thinkingLevel": "HIGH", "includeThoughts": True},
        ),
        (
            "gemini-2.5-flash",
            {"reasoning_effort": "medium"},
            {"thinkingBudget": 8192, "includeThoughts": True},
        ),
        ("gemini-2.5-flash", {"reasoning_effort": "none"}, {"thinkingBudget": 0}),
        ("gemini-2.5-flash", {"reasoning_budget": 512}, {"thinkingBudget": 512, "includeThoughts": True}),
        ("gemini-2.5-flash", {"reasoning_budget": 0}, {"thinkingBudget": 0}),
    ],
)
def test_reasoning(vendor_model: str, wanted: dict[str, Any], config: dict[str, Any]) -> None:
    sent = body(vendor_model, prompt="x", parameters=Parameters(**wanted))
    assert sent["generationConfig"]["thinkingConfig"] == config


def test_media() -> None:
    parts = [
        ContentPart(type="image", data=PNG, media_type="image/png"),
        ContentPart(type="document", uri="gs://bucket/x.pdf?v=1"),
        ContentPart(type="audio", uri="https://files.example/x", media_type="audio/wav"),
    ]
    [content] = body(prompt="look", content=parts)["contents"]
    assert content["parts"] == [
        {"text": "look"},
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}},
        {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://bucket/x.pdf?v=1"}},
        {"fileData": {"mimeType": "audio/wav", "fileUri": "https://files.example/x"}},
    ]


def test_tools_and_choices() -> None:
    sent = body(prompt="x", tools=[LOOK, Tool(name="now")], tool_choice="look")
    assert sent["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "look",
                    "description": "Looks.",
                    "parametersJsonSchema": {"type": "object", "properties": {"a": {"type": "integer"}}},
                },
                {"name": "now"},
            ]
        }
    ]
    config = {"mode": "ANY", "allowedFunctionNames": ["look"]}
    assert sent["toolConfig"] == {"functionCallingConfig": config}
    for ours, theirs in {"auto": "AUTO", "none": "NONE", "required": "ANY"}.items():
        told = body(prompt="x", tools=[LOOK], tool_choice=ours)["toolConfig"]
        assert told == {"functionCallingConfig": {"mode": theirs}}


def test_the_form_of_the_output() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": ["integer", "null"]}},
        "additionalProperties": False,
    }
    wanted = ResponseFormat(type="json_schema", json_schema=orjson.dumps(schema).decode(), strict=True)
    sent = body(prompt="x", response_format=wanted)["generationConfig"]
    assert (sent["responseMimeType"], sent["responseJsonSchema"]) == ("application/json", schema)
    sent = body(prompt="x", response_format=ResponseFormat(type="json"))["generationConfig"]
    assert sent == {"responseMimeType": "application/json", "maxOutputTokens": 4096}


def test_results_stand_behind_the_calls_in_their_order() -> None:
    """Without ids Google finds the call of a result by its name and place, and wants all results in one turn."""
    messages = [
        said("user", text("find")),
        said("assistant", text("wait"), call("c1", signature=SIGNED), call("c2"), call("c3", "now")),
        said("tool", result("c3", '{"hour": 9}')),
        said("tool", result("c2", "second")),
        said("user", result("c1", "no such page", is_error=True), text("hurry")),
    ]
    for vertex in (False, True):
        _, model, results, user = body(messages=messages, tools=[LOOK], vertex=vertex)["contents"]
        assert model["role"] == "model" and model["parts"][1]["thoughtSignature"] == SIGNED
        assert [p["functionResponse"]["name"] for p in results["parts"]] == ["look", "look", "now"]
        assert [p["functionResponse"]["response"] for p in results["parts"]] == [
            {"error": "no such page"}, {"output": "second"}, {"output": {"hour": 9}}
        ]  # fmt: skip
        assert user == {"role": "user", "parts": [{"text": "hurry"}]}
        ids = [p["functionCall"].get("id") for p in model["parts"][1:]]
        assert ids == [p["functionResponse"].get("id") for p in results["parts"]]
        assert ids == ([None] * 3 if vertex else ["c1", "c2", "c3"]), "Vertex AI refuses ids"


def test_a_tool_s_image_goes_with_its_result() -> None:
    messages = [
        said("user", text("find")),
        said("assistant", call("c1", signature=SIGNED)),
        said("tool", result("c1"), result("c1", None, data=PNG, media_type="image/png")),
    ]
    *_, results = body("gemini-3-pro", messages=messages)["contents"]
    [part] = results["parts"]
    assert part["functionResponse"]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}}
    ]
    assert part["functionResponse"]["response"] == {"output": "found"}


@pytest.mark.parametrize("name", ["thinking", "tools", "tools_ids", "image", "tool_use"])
def test_an_answer_goes_back_as_it_came(name: str) -> None:
    """Parts, signatures and blocks that only Google knows: what the model said is in the next request unchanged."""
    stream = (FIXTURES / f"gemini/{name}.sse").read_bytes()
    decoder = GeminiDecoder()
    decoder.feed(stream)
    answer = decoder.finish().parts
    after = [result(part.tool_call_id or "") for part in answer if part.type == "tool_call"] or [
        text("go on")
    ]
    model = "gemini-3-pro-preview"
    messages = [said("user", text("x")), said("assistant", *answer), said("user", *after)]
    _, sent, _ = body(model, messages=messages)["contents"]
    told = [
        part
        for line in stream.splitlines()
        if line.startswith(b"data: ")
        for part in orjson.loads(line[6:])["candidates"][0]["content"]["parts"]
    ]
    kept = [part for part in told if not part.get("thought")]
    joined = [p["text"] for p in sent["parts"] if p.get("text")]
    assert "".join(joined) == "".join(p.get("text", "") for p in kept)
    assert [p for p in sent["parts"] if "text" not in p] == [p for p in kept if "text" not in p]
    assert [p["thoughtSignature"] for p in sent["parts"] if "thoughtSignature" in p] == [
        p["thoughtSignature"] for p in told if "thoughtSignature" in p
    ]


def test_reasoning_of_others_stays_here() -> None:
    """Google refuses a signature that it didn't give."""
    foreign = [
        ContentPart(type="thinking", text="hm", signature=SIGNED, id="anthropic"),
        ContentPart(type="thinking", text="hm", signature=SIGNED),
        ContentPart(type="redacted_thinking", signature=SIGNED),
        ContentPart(type="vendor:openrouter", text="[]"),
        ContentPart(type="thinking", text="unsigned", id="gemini"),
    ]
    messages = [said("user", text("x")), said("assistant", *foreign, text("y")), said("user", text("z"))]
    assert body(messages=messages)["contents"][1] == {"role": "model", "parts": [{"text": "y"}]}
    own = ContentPart(type="thinking", text="hm", signature=SIGNED, id="gemini")
    messages[1] = said("assistant", own, text("y"))
    assert body(messages=messages)["contents"][1]["parts"][0] == {
        "text": "hm", "thought": True, "thoughtSignature": SIGNED
    }  # fmt: skip


def test_calls_of_another_model_get_a_stand_in_for_the_signature() -> None:
    """From Gemini 3 a call of the running turn without a signature is refused: a fallback could never take over."""
    messages = [
        said("user", text("before")), said("assistant", call("c0")), said("tool", result("c0")),
        said("assistant", text("done")),
        said("user", text("now")), said("assistant", call("c1"), call("c2")), said("tool", result("c1"), result("c2")),
        said("assistant", call("c3", signature=SIGNED)), said("tool", result("c3")),
    ]  # fmt: skip
    sent = body("gemini-3.1-pro", messages=messages)["contents"]
    signatures = [p.get("thoughtSignature") for c in sent for p in c["parts"] if "functionCall" in p]
    assert signatures == [None, NO_SIGNATURE, None, SIGNED]
    sent = body("gemini-2.5-pro", messages=messages)["contents"]
    assert all("thoughtSignature" not in p for c in sent[:-2] for p in c["parts"])


@pytest.mark.parametrize(
    ("wanted", "dropped"),
    [
        ({"parallel_tool_calls": False, "tools": [LOOK]}, "parallel_tool_calls"),
        (
            {"parameters": Parameters(reasoning_effort="low", reasoning_budget=9)},
            "parameters.reasoning_effort",
        ),
        ({"parameters": Parameters(reasoning_effort="colossal")}, "parameters.reasoning_effort"),
    ],
)
def test_what_can_t_be_told_is_refused_or_dropped_by_name(wanted: dict[str, Any], dropped: str) -> None:
    with pytest.raises(Invalid, match=dropped) as refused:
        encoded(prompt="x", **wanted)
    assert refused.value.reason == "unsupported_parameter"
    assert encoded("gemini-2.5-pro", "drop", prompt="x", **wanted).dropped == (dropped,)
    body("gemini-2.5-pro", "drop", prompt="x", **wanted)


def test_names_of_speakers_can_t_be_told() -> None:
    messages = [Message(role="user", content=[text("x")], name="Ada")]
    with pytest.raises(Invalid, match=r"messages\.name"):
        encoded(messages=messages)
    assert encoded("gemini-2.5-pro", "drop", messages=messages).dropped == ("messages.name",)


def test_parameters_of_google_s_own_join_ours() -> None:
    extra = {
        "generationConfig": '{"responseModalities":["TEXT"],"topK":5}',
        "tools": '[{"googleSearch":{}}]',
        "safetySettings": '[{"category":"HARM_CATEGORY_HARASSMENT","threshold":"BLOCK_NONE"}]',
    }
    wanted = Parameters(temperature=1.0, extra=extra)
    sent = body(prompt="x", tools=[LOOK], parameters=wanted)
    assert sent["generationConfig"] == {
        "temperature": 1.0, "responseModalities": ["TEXT"], "topK": 5, "maxOutputTokens": 4096
    }  # fmt: skip
    assert [list(tool) for tool in sent["tools"]] == [["functionDeclarations"], ["googleSearch"]]
    assert sent["safetySettings"][0]["threshold"] == "BLOCK_NONE"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("contents", "[]"),
        ("systemInstruction", "{}"),
        ("generation_config", '{"max_output_tokens":99999}'),
        ("generationConfig", '{"max_output_tokens":99999}'),
        ("generationConfig", '{"maxOutputTokens":99999}'),
        ("generationConfig", '{"candidateCount":8}'),
        ("generationConfig", "[]"),
    ],
)
def test_no_parameter_overrules_content_or_cost(name: str, value: str) -> None:
    """The worst case of a call, and so the budget, rests on it."""
    with pytest.raises(Invalid, match=f"parameters.extra.{name}"):
        encoded(prompt="x", parameters=Parameters(extra={name: value}))


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([said("user", ContentPart(type="image", data=PNG))], "media_type"),
        ([said("user", ContentPart(type="image"))], "needs uri or data"),
        ([said("user", ContentPart(type="hologram"))], "hologram"),
        ([said("user", result("c9"))], "answers no tool_call"),
        (
            [said("assistant", ContentPart(type="tool_call", tool_name="f", arguments="[1]"))],
            "must be a JSON object",
        ),
        ([said("user", ContentPart(type="vendor:gemini", text="[]"))], "vendor:gemini"),
        ([said("assistant", ContentPart(type="redacted_thinking"))], "nothing in them"),
        ([said("user", text(""))], "nothing in them"),
    ],
)
def test_what_can_t_be_sent_is_told_by_name(messages: list[Message], named: str) -> None:
    with pytest.raises(Invalid, match=named):
        encoded(messages=messages)


def test_json_that_nests_too_deep_is_invalid() -> None:
    deep = '{"a":' * 400 + "1" + "}" * 400
    with pytest.raises(Invalid):
        encoded(prompt="x", tools=[Tool(name="f", input_schema=deep)])
