"""A call task as the body of Cohere's v2 chat."""

from typing import Any, Final

from processors.providers import json_text
from processors.providers.base import HttpRequest
from processors.providers.encoding import JSON_HEADERS, always_strict, extra, media, without
from processors.providers.openai.request import function
from processors.providers.turns import messages, nameless
from processors.providers.unsupported import Dropped
from schemas.config import Model
from schemas.records import CallTask, ContentPart, Message, Parameters, RequestEvent, Tool
from schemas.signals import Invalid

# The `id` of our reasoning parts: what the model thought, and the plan it made before calling tools.
ORIGIN: Final = "cohere"
PLAN: Final = "cohere:tool_plan"
VENDOR_PART: Final = "vendor:cohere"
_RESERVED: Final = frozenset({"model", "messages", "stream", "max_tokens"})
_SAMPLING: Final = (
    ("temperature", "temperature"),
    ("top_p", "p"),
    ("top_k", "k"),
    ("seed", "seed"),
    ("frequency_penalty", "frequency_penalty"),
    ("presence_penalty", "presence_penalty"),
)
_APART: Final = frozenset({"tool_call", "tool_result", "redacted_thinking"})


def encode(task: CallTask, model: Model) -> HttpRequest:
    """The streamed chat of a task. Raises signals.Invalid where it can't be expressed."""
    request, dropped = task.request, Dropped(model.unsupported)
    body: dict[str, Any] = {
        "model": model.vendor_model,
        "messages": messages(request, result=_result, assistant=_assistant, content=_content),
        "stream": True,
        "max_tokens": task.max_output_tokens,
        **_sampling(request.parameters, dropped),
        **_tools(request, dropped),
        **_format(request, dropped),
        **extra(request.parameters, _RESERVED),
    }
    nameless(request, dropped)
    without(request, dropped, "is_error", "Cohere's tool results know no errors: say it in the text")
    without(request, dropped, "cache", "Cohere caches by itself")
    return HttpRequest("POST", "/chat", dict(JSON_HEADERS), json_text.write(body), dropped.names)


def _sampling(wanted: Parameters | None, dropped: Dropped) -> dict[str, Any]:
    if wanted is None:
        return {}
    out = {theirs: value for ours, theirs in _SAMPLING if (value := getattr(wanted, ours)) is not None}
    if wanted.stop:
        out["stop_sequences"] = wanted.stop
    if wanted.service_tier is not None:
        dropped.note("parameters.service_tier", "Cohere has no service tiers")
    thinking = _thinking(wanted, dropped)
    if thinking is not None:
        out["thinking"] = thinking
    return out


def _thinking(wanted: Parameters, dropped: Dropped) -> dict[str, Any] | None:
    """Thinking is on or off, within a budget; efforts between aren't known."""
    effort, budget = wanted.reasoning_effort, wanted.reasoning_budget
    if effort not in (None, "none"):
        why = "Cohere measures reasoning by parameters.reasoning_budget alone"
        dropped.note("parameters.reasoning_effort", why)
    if budget is not None and budget < 0:
        raise Invalid("invalid_request", f"parameters.reasoning_budget is {budget}: it must be 0 or more")
    if effort == "none" and budget:
        dropped.note(
            "parameters.reasoning_budget", "reasoning_effort none turns it off: leave one of the two out"
        )
    if effort == "none" or budget == 0:
        return {"type": "disabled"}
    if budget is not None:
        return {"type": "enabled", "token_budget": budget}
    return None if effort is None else {"type": "enabled"}


def _format(request: RequestEvent, dropped: Dropped) -> dict[str, Any]:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return {}
    told: dict[str, Any] = {"type": "json_object"}
    if wanted.type == "json_schema":
        always_strict(request, dropped)
        schema = json_text.read_object(wanted.json_schema or "{}", "response_format.json_schema")
        told["json_schema"] = schema
    return {"response_format": told}


def _tools(request: RequestEvent, dropped: Dropped) -> dict[str, Any]:
    """Tools and the choice among them. A tool that must be called is the only one that is offered."""
    if not request.tools:
        return {}
    choice, tools = request.tool_choice, request.tools
    named = choice not in (None, "auto", "none", "required")
    if named:
        tools = [tool for tool in tools if tool.name == choice]
        if not tools:
            raise Invalid("invalid_request", f"tool_choice: there is no tool {choice!r}")
    out: dict[str, Any] = {"tools": [_tool(tool) for tool in tools]}
    if choice == "none":
        out["tool_choice"] = "NONE"
    elif named or choice == "required":
        out["tool_choice"] = "REQUIRED"
    if request.parallel_tool_calls is False:
        dropped.note("parallel_tool_calls", "Cohere has no way to forbid parallel tool calls")
    return out


def _tool(tool: Tool) -> dict[str, Any]:
    return {"type": "function", "function": function(tool.name, tool.description, tool.input_schema)}


def _result(group: list[ContentPart]) -> dict[str, Any]:
    if any(part.data is not None or part.uri is not None for part in group):
        text = "messages: a tool_result with media can't be sent to this provider: send its text"
        raise Invalid("invalid_request", text)
    text = "\n".join(part.text for part in group if part.text is not None)
    return {"role": "tool", "tool_call_id": group[0].tool_call_id or "", "content": text}


def _assistant(message: Message) -> dict[str, Any]:
    body: dict[str, Any] = {"role": "assistant"}
    calls = [part for part in message.content if part.type == "tool_call"]
    plan = "".join(part.text or "" for part in message.content if part.id == PLAN)
    content = _content(message.content)
    if content or not calls:
        body["content"] = content
    if plan:
        body["tool_plan"] = plan
    if calls:
        body["tool_calls"] = [_call(part) for part in calls]
    return body


def _call(part: ContentPart) -> dict[str, Any]:
    function = {"name": part.tool_name or "", "arguments": part.arguments or "{}"}
    return {"id": part.tool_call_id or "", "type": "function", "function": function}


def _content(parts: list[ContentPart]) -> Any:
    """The content of a message: a text where it is one text alone, else blocks."""
    blocks = [sent for part in parts if (sent := _block(part)) is not None]
    if not blocks:
        return ""
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0]["type"] == "text" else blocks


def _block(part: ContentPart) -> dict[str, Any] | None:
    """A part as Cohere's; None for what stands elsewhere in the message or isn't sent: others' reasoning."""
    if part.type == "text":
        return {"type": "text", "text": part.text} if part.text else None
    if part.type == "image":
        return {"type": "image_url", "image_url": {"url": media(part)}}
    if part.type == "thinking":
        return {"type": "thinking", "thinking": part.text or ""} if part.id == ORIGIN else None
    if part.type == VENDOR_PART:
        return json_text.read_object(part.text or "", f"a part of type {VENDOR_PART}")
    if part.type in _APART or part.type.startswith("vendor:"):
        return None
    raise Invalid("invalid_request", f"a part of type {part.type!r} can't be sent to this provider")
