"""A call task as the body of an OpenAI-compatible chat completion."""

import base64
from typing import Any

import orjson

from processors.providers.base import HttpRequest
from schemas.config import Model
from schemas.records import CallTask, ContentPart, Message, Parameters, RequestEvent
from schemas.signals import Invalid

_SAMPLING = (
    "temperature",
    "top_p",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "reasoning_effort",
    "service_tier",
)


def _json(text: str, what: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Invalid("invalid_request", f"{what} is not valid JSON: {error}") from error


def _media(part: ContentPart) -> str:
    if part.uri is not None:
        return part.uri
    if part.data is None:
        raise Invalid("invalid_request", f"a part of type {part.type} needs uri or data")
    media_type = part.media_type or "application/octet-stream"
    return f"data:{media_type};base64,{base64.b64encode(part.data).decode()}"


def _part(part: ContentPart) -> dict[str, Any] | None:
    if part.type == "text":
        return {"type": "text", "text": part.text or ""}
    if part.type == "image":
        return {"type": "image_url", "image_url": {"url": _media(part)}}
    if part.type == "document":
        return {"type": "file", "file": {"filename": "document", "file_data": _media(part)}}
    if part.type == "audio":
        if part.data is None:
            raise Invalid("invalid_request", "an audio part needs data")
        name = (part.media_type or "audio/wav").rpartition("/")[2]
        sound = {"data": base64.b64encode(part.data).decode(), "format": name}
        return {"type": "input_audio", "input_audio": sound}
    if part.type == "thinking":
        return None
    raise Invalid("invalid_request", f"a part of type {part.type!r} can't be sent to this provider")


def _content(parts: list[ContentPart]) -> Any:
    if len(parts) == 1 and parts[0].type == "text":
        return parts[0].text or ""
    return [encoded for part in parts if (encoded := _part(part)) is not None]


def _message(message: Message) -> list[dict[str, Any]]:
    results = [p for p in message.content if p.type == "tool_result"]
    calls = [p for p in message.content if p.type == "tool_call"]
    rest = [p for p in message.content if p.type not in ("tool_result", "tool_call")]
    out: list[dict[str, Any]] = [
        {"role": "tool", "tool_call_id": p.tool_call_id or "", "content": p.text or ""} for p in results
    ]
    if calls or rest or not results:
        body: dict[str, Any] = {"role": message.role, "content": _content(rest) if rest else None}
        if message.name:
            body["name"] = message.name
        if calls:
            body["tool_calls"] = [_call(p) for p in calls]
        elif not rest:
            body["content"] = ""
        out.append(body)
    return out


def _call(part: ContentPart) -> dict[str, Any]:
    function = {"name": part.tool_name or "", "arguments": part.arguments or "{}"}
    return {"id": part.tool_call_id or "", "type": "function", "function": function}


def _messages(request: RequestEvent) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    if request.system:
        out.append({"role": "system", "content": request.system})
    for message in request.messages:
        out.extend(_message(message))
    if request.prompt is not None or request.content:
        first = [ContentPart(type="text", text=request.prompt)] if request.prompt is not None else []
        out.append({"role": "user", "content": _content(first + request.content)})
    return out


def _sampling(parameters: Parameters | None) -> dict[str, Any]:
    if parameters is None:
        return {}
    out = {name: value for name in _SAMPLING if (value := getattr(parameters, name)) is not None}
    if parameters.stop:
        out["stop"] = parameters.stop
    for name, text in parameters.extra.items():
        out[name] = _json(text, f"parameters.extra.{name}")
    return out


def _format(request: RequestEvent) -> dict[str, Any] | None:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json":
        return {"type": "json_object"}
    schema = _json(wanted.json_schema or "{}", "response_format.json_schema")
    named: dict[str, Any] = {"name": wanted.name or "output", "schema": schema}
    if wanted.strict is not None:
        named["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": named}


def _tools(request: RequestEvent) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if request.tools:
        out["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description or "",
                    "parameters": _json(tool.input_schema, f"tools.{tool.name}.input_schema"),
                },
            }
            for tool in request.tools
        ]
        choice = request.tool_choice
        if choice in ("auto", "none", "required"):
            out["tool_choice"] = choice
        elif choice:
            out["tool_choice"] = {"type": "function", "function": {"name": choice}}
        if request.parallel_tool_calls is not None:
            out["parallel_tool_calls"] = request.parallel_tool_calls
    return out


def encode(task: CallTask, model: Model) -> HttpRequest:
    """The streamed chat completion of a task. Raises signals.Invalid where it can't be expressed."""
    request = task.request
    body: dict[str, Any] = {
        "model": model.vendor_model,
        "messages": _messages(request),
        "stream": True,
        "stream_options": {"include_usage": True},
        **_sampling(request.parameters),
        **_tools(request),
        "max_tokens": task.max_output_tokens,
    }
    wanted = _format(request)
    if wanted is not None:
        body["response_format"] = wanted
    return HttpRequest("POST", "/chat/completions", {"content-type": "application/json"}, _dumped(body))


def _dumped(body: dict[str, Any]) -> bytes:
    """The body as JSON. orjson reads deeper nesting than it writes: what was valid JSON may fail here."""
    try:
        return orjson.dumps(body)
    except TypeError as error:
        raise Invalid("invalid_request", f"the request can't be written as JSON: {error}") from error
