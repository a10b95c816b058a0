"""OpenAI's Responses API: requests encoded, events decoded."""

from typing import Any

import orjson
import pytest

from processors.providers.base import Completion, ProviderFailure
from processors.providers.openai.responses import ResponsesAdapter, ResponsesDecoder
from schemas.codec import Codec
from schemas.config import Model
from schemas.records import ContentPart, Message, Outcome, Parameters, ResponseFormat, Timings, Tool
from schemas.registry import SchemaStore
from schemas.signals import Invalid
from tests.unit.providers.openai.requests import LOOK, PDF, RESULT, SEEN, TALK, WAV
from tests.unit.providers.openai.sdk import fixture
from tests.unit.providers.openai.tasks import DROPPING, body_of, task, text

ADAPTER = ResponsesAdapter()


def body(**request: Any) -> dict[str, Any]:
    return body_of(ADAPTER, **request)


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)


def answer(name: str) -> Completion:
    decoder = ADAPTER.decoder("application/json" if name.endswith(".json") else "text/event-stream")
    decoder.feed(fixture(name))
    return decoder.finish()


def failed(name: str) -> ProviderFailure:
    with pytest.raises(ProviderFailure) as seen:
        answer(name)
    return seen.value


def test_a_prompt_is_streamed_bounded_and_never_stored() -> None:
    assert body(prompt="hi", system="be kind") == {
        "model": "vendor-9",
        "instructions": "be kind",
        "input": [{"type": "message", "role": "user", "content": "hi"}],
        "stream": True,
        "store": False,
        "max_output_tokens": 77,
    }


def test_a_conversation_becomes_items() -> None:
    items = body(messages=[*TALK[1:4], Message(role="tool", content=[RESULT, SEEN])])["input"]
    shown = {"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,iVBORw=="}
    assert items == [
        {"type": "message", "role": "user", "content": "Find it."},
        {"type": "message", "role": "assistant", "content": "Wait."},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"a":1}'},
        {"type": "function_call_output", "call_id": "c1", "output": "found"},
        {"type": "function_call_output", "call_id": "c1",
         "output": [{"type": "input_text", "text": "found"}, shown]},
    ]  # fmt: skip


def test_documents_by_bytes_and_by_reference() -> None:
    parts = [PDF, ContentPart(type="document", uri="https://x.example/a.pdf")]
    [message] = body(content=parts)["input"]
    assert message["content"] == [
        {"type": "input_file", "filename": "document", "file_data": "data:application/pdf;base64,JVBERg=="},
        {"type": "input_file", "file_url": "https://x.example/a.pdf"},
    ]


def test_tools_are_not_strict_unless_asked() -> None:
    """Left out, the API takes `strict` for true, and refuses schemas that Chat Completions accept."""
    sent = body(prompt="x", tools=[LOOK, Tool(name="ask")], tool_choice="look")
    assert [tool["strict"] for tool in sent["tools"]] == [False, False]
    assert sent["tool_choice"] == {"type": "function", "name": "look"}


def test_a_schema_and_a_verbosity_share_the_text_options() -> None:
    wanted = ResponseFormat(type="json_schema", name="n", json_schema='{"type":"object"}', strict=True)
    extra = Parameters(extra={"text": '{"verbosity":"low"}'})
    assert body(prompt="x", response_format=wanted, parameters=extra)["text"] == {
        "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True},
        "verbosity": "low",
    }


def test_hosted_tools_stand_beside_ours() -> None:
    extra = Parameters(extra={"tools": '[{"type":"web_search"}]'})
    sent = body(prompt="x", tools=[Tool(name="ask")], parameters=extra)
    assert [tool["type"] for tool in sent["tools"]] == ["function", "web_search"]


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({}, False),
        ({"parameters": Parameters(reasoning_effort="none")}, False),
        ({"parameters": Parameters(reasoning_effort="low")}, True),
        ({"parameters": Parameters(extra={"reasoning": '{"summary":"auto"}'})}, True),
    ],
)
def test_encrypted_reasoning_is_asked_of_models_that_reason(fields: dict[str, Any], asked: bool) -> None:
    """Others refuse the very question."""
    assert ("include" in body(prompt="x", **fields)) is asked


def test_a_model_that_is_said_to_reason_is_asked_always() -> None:
    told = {"provider": "p", "vendor_model": "v", "capabilities": {"reasoning": True}}
    sent = body_of(ADAPTER, Model.model_validate(told), prompt="x")
    assert sent["include"] == ["reasoning.encrypted_content"]


def test_what_the_api_doesn_t_know_is_dropped_and_told() -> None:
    parameters = Parameters(
        temperature=0.2,
        seed=1,
        stop=["x"],
        top_k=3,
        frequency_penalty=0.1,
        presence_penalty=0.1,
        reasoning_budget=9,
    )
    request = ADAPTER.encode(task(prompt="x", parameters=parameters), DROPPING)
    names = ["seed", "frequency_penalty", "presence_penalty", "top_k", "reasoning_budget", "stop"]
    assert request.dropped == tuple(f"parameters.{name}" for name in names)
    assert orjson.loads(request.body)["temperature"] == 0.2
    with pytest.raises(Invalid, match=r"parameters\.seed") as refused:
        body(prompt="x", parameters=Parameters(seed=1))
    assert refused.value.reason == "unsupported_parameter"


@pytest.mark.parametrize(
    "name", ["model", "input", "max_output_tokens", "background", "previous_response_id"]
)
def test_vendor_parameters_can_t_undo_what_was_checked_and_counted(name: str) -> None:
    with pytest.raises(Invalid, match=f"parameters.extra.{name}"):
        body(prompt="x", parameters=Parameters(extra={name: "1"}))


def test_sound_is_refused() -> None:
    with pytest.raises(Invalid, match="audio"):
        body(content=[WAV])


def test_other_vendors_reasoning_stays_behind() -> None:
    content = [ContentPart(type="thinking", text="hm", signature="sig"), text("ok"),
               ContentPart(type="thinking", text="hm", signature="sig", id="gemini"),
               ContentPart(type="vendor:anthropic", text="{}")]  # fmt: skip
    items = body(messages=[Message(role="assistant", content=content)])["input"]
    assert items == [{"type": "message", "role": "assistant", "content": "ok"}]


def test_a_streamed_answer() -> None:
    decoder = ResponsesDecoder()
    deltas = decoder.feed(fixture("openai/responses_text.sse"))
    whole = "Hi there! Wie geht's, Jürgen?"
    assert "".join(d.text for d in deltas) == whole and {d.kind for d in deltas} == {"text"}
    assert decoder.done
    told = decoder.finish()
    assert [(p.type, p.text, p.id) for p in told.parts] == [("text", whole, None)]
    assert (told.finish_reason, told.finish_reason_raw) == ("stop", "completed")
    assert told.vendor_model == "gpt-5.6-2026-05-12" and (told.vendor_response_id or "").startswith("resp_")
    usage = told.usage
    assert usage is not None
    assert (usage.input_uncached, usage.cache_read, usage.cache_write, usage.output) == (13, 8, 16, 11)


def test_reasoning_and_phases_go_there_and_back() -> None:
    told = answer("openai/responses_reasoning.sse")
    thinking = [p for p in told.parts if p.type == "thinking"]
    assert len(thinking) == 2 and len({p.id for p in thinking}) == 1
    assert [p.signature for p in thinking] == [None, "gAAAAABodC9yKZ5jY1qVq3mD0R8mH4xw=="]
    items = body(messages=[Message(role="assistant", content=told.parts)])["input"]
    sent = [orjson.loads(line[6:]) for line in fixture("openai/responses_reasoning.sse").splitlines()
            if line.startswith(b"data: ")]  # fmt: skip
    output = sent[-1]["response"]["output"]
    assert items[0] == output[0], "the reasoning item, unchanged"
    assert [(i["phase"], i["id"], i["content"][0]["text"]) for i in items[1:]] == [
        ("commentary", "msg_comment", "Looking."),
        ("final_answer", "msg_final", "Green tea."),
    ]


def test_reasoning_of_open_models_goes_back_as_it_came() -> None:
    item = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "hm"}],
    }
    decoder = ResponsesDecoder()
    decoder.feed(
        sse(
            {"type": "response.output_item.done", "item": item},
            {"type": "response.completed", "response": {"status": "completed", "output": [item]}},
        )
    )
    parts = decoder.finish().parts
    assert [(p.type, p.text, p.signature) for p in parts] == [("thinking", "hm", None)]
    [sent] = body(messages=[Message(role="assistant", content=parts)])["input"]
    assert sent == item


def test_tool_calls() -> None:
    decoder = ResponsesDecoder()
    deltas = decoder.feed(fixture("openai/responses_tools.sse"))
    assert {d.kind for d in deltas} == {"tool_call"}
    told = decoder.finish()
    [call] = told.parts
    assert (call.tool_call_id, call.tool_name) == ("call_4567xyz", "get_weather")
    assert orjson.loads(call.arguments or "") == {"latitude": 48.8566, "longitude": 2.3522}
    assert told.finish_reason == "tool_call"


def test_hosted_tools_items_are_kept_and_sent_back_unchanged() -> None:
    told = answer("openai/responses_web_search.sse")
    assert [p.type for p in told.parts] == ["vendor:openai", "text"]
    items = body(messages=[Message(role="assistant", content=told.parts)])["input"]
    assert items[0] == orjson.loads(told.parts[0].text or "") and items[0]["type"] == "web_search_call"
    assert items[1]["content"] == "Good news."


@pytest.mark.parametrize(
    ("name", "finish", "raw", "said"),
    [
        ("openai/responses_incomplete.sse", "length", "max_output_tokens", "Once upon a"),
        ("openai/responses_filtered.sse", "content_filter", "content_filter", "The recipe"),
        ("openai/responses_refusal.sse", "refusal", "completed", "I can't help with that."),
        ("openai/responses.json", "stop", "completed", "Green tea."),
        ("llama-cpp/responses.sse", "stop", "completed", "Hello, welcome"),
    ],
)
def test_ends(name: str, finish: str, raw: str, said: str) -> None:
    told = answer(name)
    assert (told.finish_reason, told.finish_reason_raw) == (finish, raw)
    assert [p.text for p in told.parts if p.type == "text"] == [said]


@pytest.mark.parametrize(
    ("name", "error_class", "message"),
    [
        ("openai/responses_failed.sse", "provider_error", "failed to generate"),
        ("openai/responses_rate_limit.sse", "rate_limited", "Rate limit reached"),
        ("openai/responses_error.sse", "provider_error", "Something went wrong"),
        ("openai/responses_failed.json", "content_filter", "violates the policy"),
    ],
)
def test_failures_inside_a_200(name: str, error_class: str, message: str) -> None:
    problem = failed(name)
    assert problem.error.error_class == error_class and message in problem.error.message
    assert problem.error.maybe_paid and not problem.repeatable


def test_what_a_failed_response_had_used_is_told() -> None:
    usage = failed("openai/responses_failed.sse").usage
    assert usage is not None and usage.output == 11


def test_an_error_event_of_the_older_form() -> None:
    with pytest.raises(ProviderFailure, match="busy") as seen:
        ResponsesDecoder().feed(
            sse({"type": "error", "error": {"code": "rate_limit_exceeded", "message": "busy"}})
        )
    assert seen.value.error.error_class == "rate_limited"


@pytest.mark.parametrize(
    "stream", [b"", fixture("openai/responses_text.sse")[:900], fixture("openai/responses_text.sse")[:-400]]
)
def test_a_response_that_never_ends_is_truncated(stream: bytes) -> None:
    decoder = ResponsesDecoder()
    decoder.feed(stream)
    with pytest.raises(ProviderFailure) as seen:
        decoder.finish()
    assert seen.value.error.error_class == "truncated" and seen.value.error.maybe_paid


def test_items_that_only_the_response_tells_are_taken_from_it() -> None:
    message = {"type": "message", "id": "m", "content": [{"type": "output_text", "text": "all"}]}
    call = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
    decoder = ResponsesDecoder()
    decoder.feed(
        sse(
            {"type": "response.output_text.delta", "output_index": 0, "delta": "al"},
            {"type": "response.completed", "response": {"status": "completed", "output": [message, call]}},
        )
    )
    assert [(p.type, p.text or p.tool_name) for p in decoder.finish().parts] == [
        ("text", "all"),
        ("tool_call", "look"),
    ]


def test_half_a_tool_call_is_none() -> None:
    decoder = ResponsesDecoder()
    decoder.feed(
        sse(
            {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": '{"a'},
            {"type": "response.incomplete",
             "response": {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}},
        )
    )  # fmt: skip
    told = decoder.finish()
    assert told.parts == [] and told.finish_reason == "length"


def test_no_form_of_an_answer_is_encoded_much_longer_than_it_counts() -> None:
    """The bound of a result's size is what keeps an outcome within what a topic takes."""
    decoder = ResponsesDecoder()
    for index in range(900):
        thought = {
            "type": "reasoning",
            "id": "rs_" + "i" * (index % 9),
            "encrypted_content": "e" * (index % 50),
        }
        call = {
            "type": "function_call",
            "call_id": "c" * (index % 7),
            "name": "n",
            "arguments": "y" * (index % 3),
        }
        hosted = {"type": "web_search_call", "id": "w" * (index % 90)}
        item = (thought, call, hosted)[index % 3]
        decoder.feed(sse({"type": "response.output_item.done", "output_index": index, "item": item}))
    decoder.feed(sse({"type": "response.completed", "response": {"status": "completed"}}))
    told = decoder.finish()
    outcome = Outcome(
        event_id="", request_id="", tenant="", attempt=1, attempt_id="", tries=1, model="", status="",
        config_version="", timings=Timings(accepted_at=0), output=told.parts,
    )  # fmt: skip
    assert len(Codec(SchemaStore()).encode(outcome)) <= decoder.output_bytes + 200


@pytest.mark.parametrize(
    ("name", "status", "error_class"),
    [
        ("openai/error_401.json", 401, "auth"),
        ("openai/error_429_quota.json", 429, "spend_limit"),
        ("openai/error_429_rate.json", 429, "rate_limited"),
        ("openai/error_400_context.json", 400, "context_exceeded"),
        ("openai/error_404_model.json", 404, "no_such_model"),
        ("openai/error_400_prompt.json", 400, "content_filter"),
    ],
)
def test_errors(name: str, status: int, error_class: str) -> None:
    assert ADAPTER.failure(status, None, fixture(name)).error.error_class == error_class


def test_deltas_of_several_tool_calls_are_told_apart() -> None:
    kind = "response.function_call_arguments.delta"
    places = [(1, "a"), (3, "b"), (1, "c")]
    deltas = ResponsesDecoder().feed(
        sse(*({"type": kind, "output_index": place, "delta": text} for place, text in places))
    )
    assert [(d.kind, d.text, d.index) for d in deltas] == [
        ("tool_call", "a", 0),
        ("tool_call", "b", 1),
        ("tool_call", "c", 0),
    ]
