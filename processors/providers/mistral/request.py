"""A call task as the body of Mistral's chat completion. The server refuses every field that it doesn't know."""

import base64
import hashlib
import re
from typing import Any, Final

from processors.providers import json_text
from processors.providers.base import HttpRequest
from processors.providers.encoding import JSON_HEADERS, extra, media, without
from processors.providers.openai.request import function, hinted_key, json_schema
from processors.providers.turns import messages, nameless
from processors.providers.unsupported import Dropped
from schemas.config import Model
from schemas.records import CallTask, ContentPart, Message, Parameters, RequestEvent, Tool
from schemas.signals import Invalid

# The `id` of our reasoning parts, and the type of parts that only Mistral knows.
ORIGIN: Final = "mistral"
VENDOR_PART: Final = "vendor:mistral"
_RESERVED: Final = frozenset({"model", "messages", "stream", "max_tokens", "n"})
_SAMPLING: Final = (
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("top_k", "top_k"),
    ("seed", "random_seed"),
    ("frequency_penalty", "frequency_penalty"),
    ("presence_penalty", "presence_penalty"),
    ("reasoning_effort", "reasoning_effort"),
    ("service_tier", "service_tier"),
)
# Mistral takes ids of tool calls in this form alone.
_CALL_ID: Final = re.compile(r"[a-zA-Z0-9]{9}")


def encode(task: CallTask, model: Model) -> HttpRequest:
    """The streamed chat completion of a task. Raises signals.Invalid where it can't be expressed."""
    request, dropped = task.request, Dropped(model.unsupported)
    body: dict[str, Any] = {
        "model": model.vendor_model,
        "messages": messages(request, result=_result, assistant=_assistant, content=_content),
        "stream": True,
        "max_tokens": task.max_output_tokens,
        **_sampling(request.parameters, dropped),
        **_tools(request),
        **_format(request),
    }
    nameless(request, dropped)
    without(request, dropped, "is_error", "Mistral's tool results know no errors: say it in the text")
    key = hinted_key(task, dropped)
    if key is not None:
        body["prompt_cache_key"] = key
    body.update(extra(request.parameters, _RESERVED))
    content = json_text.write(body)
    return HttpRequest("POST", "/chat/completions", dict(JSON_HEADERS), content, dropped.names)


def _sampling(wanted: Parameters | None, dropped: Dropped) -> dict[str, Any]:
    if wanted is None:
        return {}
    out = {theirs: value for ours, theirs in _SAMPLING if (value := getattr(wanted, ours)) is not None}
    if wanted.stop:
        out["stop"] = wanted.stop
    if wanted.reasoning_budget is not None:
        why = "Mistral measures reasoning by parameters.reasoning_effort alone"
        dropped.note("parameters.reasoning_budget", why)
    return out


def _format(request: RequestEvent) -> dict[str, Any]:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return {}
    if wanted.type == "json":
        return {"response_format": {"type": "json_object"}}
    return {"response_format": {"type": "json_schema", "json_schema": json_schema(request)}}


def _tools(request: RequestEvent) -> dict[str, Any]:
    if not request.tools:
        return {}
    out: dict[str, Any] = {"tools": [_tool(tool) for tool in request.tools]}
    choice = request.tool_choice
    if choice in ("auto", "none"):
        out["tool_choice"] = choice
    elif choice == "required":
        out["tool_choice"] = "any"
    elif choice:
        out["tool_choice"] = {"type": "function", "function": {"name": choice}}
    if request.parallel_tool_calls is not None:
        out["parallel_tool_calls"] = request.parallel_tool_calls
    return out


def _tool(tool: Tool) -> dict[str, Any]:
    return {"type": "function", "function": function(tool.name, tool.description, tool.input_schema)}


def _result(group: list[ContentPart]) -> dict[str, Any]:
    """The result of one call. Chunks that aren't text make it a list."""
    first = group[0]
    named = {"name": first.tool_name} if first.tool_name else {}
    chunks: list[dict[str, Any]] = []
    for part in group:
        if part.text is not None:
            chunks.append({"type": "text", "text": part.text})
        if part.data is not None or part.uri is not None:
            image = (part.media_type or "").startswith("image/")
            chunks.append(_media(part, "image" if image else "document"))
    plain = len(chunks) == 1 and chunks[0]["type"] == "text"
    content = chunks[0]["text"] if plain else chunks or ""
    return {"role": "tool", "tool_call_id": call_id(first.tool_call_id), **named, "content": content}


def _assistant(message: Message) -> dict[str, Any]:
    calls = [part for part in message.content if part.type == "tool_call"]
    body: dict[str, Any] = {"role": "assistant", "content": _content(message.content)}
    if calls:
        body["tool_calls"] = [_call(part) for part in calls]
    return body


def _call(part: ContentPart) -> dict[str, Any]:
    function = {"name": part.tool_name or "", "arguments": part.arguments or "{}"}
    return {"id": call_id(part.tool_call_id), "type": "function", "function": function}


def call_id(told: str | None) -> str:
    """An id of a tool call as Mistral takes it; of another vendor's id always the same nine characters."""
    if told is not None and _CALL_ID.fullmatch(told):
        return told
    return hashlib.sha256((told or "").encode("utf-8", "surrogatepass")).hexdigest()[:9]


def _content(parts: list[ContentPart]) -> Any:
    """The content of a message: a text where it is one text alone, else chunks."""
    chunks = [sent for part in parts if (sent := _chunk(part)) is not None]
    if not chunks:
        return ""
    return chunks[0]["text"] if len(chunks) == 1 and chunks[0]["type"] == "text" else chunks


def _chunk(part: ContentPart) -> dict[str, Any] | None:
    """A part as Mistral's; None for what stands elsewhere in the message or isn't sent: others' reasoning."""
    match part.type:
        case "text":
            return {"type": "text", "text": part.text} if part.text else None
        case "image" | "document" | "audio":
            return _media(part, part.type)
        case "thinking":
            return _thinking(part) if part.id == ORIGIN else None
        case "tool_call" | "tool_result" | "redacted_thinking":
            return None
    if part.type == VENDOR_PART:
        return json_text.read_object(part.text or "", f"a part of type {VENDOR_PART}")
    if part.type.startswith("vendor:"):
        return None
    raise Invalid("invalid_request", f"a part of type {part.type!r} can't be sent to this provider")


def _media(part: ContentPart, kind: str) -> dict[str, Any]:
    if kind == "image":
        return {"type": "image_url", "image_url": {"url": media(part)}}
    if kind == "audio":
        sound = part.uri if part.data is None else base64.b64encode(part.data).decode()
        return {"type": "input_audio", "input_audio": sound or ""}
    return {"type": "document_url", "document_url": media(part)}


def _thinking(part: ContentPart) -> dict[str, Any]:
    sent: dict[str, Any] = {"type": "thinking", "thinking": [{"type": "text", "text": part.text or ""}]}
    if part.signature:
        sent["signature"] = part.signature
    return sent
