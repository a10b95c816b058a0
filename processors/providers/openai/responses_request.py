"""A call task as the body of OpenAI's Responses API. Nothing is stored at the vendor; every item goes with the call."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

from processors.providers import encoding, json_text
from processors.providers.base import HttpRequest
from processors.providers.openai.models import SAMPLING, samples_alone
from processors.providers.openai.request import function, hinted_key, json_schema, merge
from processors.providers.openai.responses_wire import PHASES, VENDOR_PART
from processors.providers.turns import nameless, results
from processors.providers.unsupported import Dropped
from schemas.config import Model
from schemas.records import CallTask, ContentPart, Parameters, RequestEvent
from schemas.signals import Invalid

# What `extra` can't set: the content that was checked, the model, and what bounds the cost (the vendor's own memory
# of a conversation is input that nobody here has counted).
RESERVED: Final = frozenset(
    {"model", "input", "instructions", "stream", "max_output_tokens", "background", "prompt", "previous_response_id",
     "conversation"}
)  # fmt: skip
_UNKNOWN: Final = ("seed", "frequency_penalty", "presence_penalty", "top_k", "reasoning_budget")
_ENCRYPTED: Final = "reasoning.encrypted_content"
# The vendor's reasoning items, and those of servers that speak like it.
_REASONING_ID: Final = "rs_"
Json = dict[str, Any]


def encode(task: CallTask, model: Model, path: str = "/responses") -> HttpRequest:
    """The streamed response of a task. Raises signals.Invalid where it can't be expressed."""
    request, dropped = task.request, Dropped(model.unsupported)
    parameters = request.parameters or Parameters()
    nameless(request, dropped)
    items = _items(request)
    body: Json = {
        "model": model.vendor_model,
        "input": items,
        "stream": True,
        "store": False,
        "max_output_tokens": task.max_output_tokens,
    }
    if request.system:
        body["instructions"] = request.system
    _parameters(body, parameters, model, dropped)
    if _reasons(parameters, model, items):
        body["include"] = [_ENCRYPTED]
    if request.tools:
        _tools(body, request)
    _format(body, request)
    why = "the Responses API's tool results know no errors: say it in the text"
    encoding.without(request, dropped, "is_error", why)
    if key := hinted_key(task, dropped):
        body["prompt_cache_key"] = key
    merge(body, encoding.extra(request.parameters, RESERVED))
    return HttpRequest("POST", path, dict(encoding.JSON_HEADERS), json_text.write(body), dropped.names)


def _reasons(parameters: Parameters, model: Model, items: list[Json]) -> bool:
    """Whether to ask for encrypted reasoning: a model that doesn't reason refuses the very question."""
    wanted = parameters.reasoning_effort not in (None, "none") or "reasoning" in parameters.extra
    return wanted or bool(model.capabilities.reasoning) or any(i["type"] == "reasoning" for i in items)


def _parameters(body: Json, parameters: Parameters, model: Model, dropped: Dropped) -> None:
    alone = samples_alone(model, parameters)
    for name in ("temperature", "top_p", "service_tier"):
        value = getattr(parameters, name)
        if value is not None and alone and name in SAMPLING:
            dropped.note(f"parameters.{name}", "a model that reasons samples its own way")
        elif value is not None:
            body[name] = value
    if parameters.reasoning_effort is not None:
        body["reasoning"] = {"effort": parameters.reasoning_effort}
    for name in _UNKNOWN:
        if getattr(parameters, name) is not None:
            dropped.note(f"parameters.{name}", "the Responses API has no such parameter")
    if parameters.stop:
        dropped.note("parameters.stop", "the Responses API has no such parameter")


def _tools(body: Json, request: RequestEvent) -> None:
    """`strict` is told, as the API takes its absence for true and then refuses common schemas."""
    body["tools"] = [
        {"type": "function", "strict": False, **function(tool.name, tool.description, tool.input_schema)}
        for tool in request.tools
    ]
    choice = request.tool_choice
    if choice in ("auto", "none", "required"):
        body["tool_choice"] = choice
    elif choice:
        body["tool_choice"] = {"type": "function", "name": choice}
    if request.parallel_tool_calls is not None:
        body["parallel_tool_calls"] = request.parallel_tool_calls


def _format(body: Json, request: RequestEvent) -> None:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return
    schema = json_schema(request)
    form = {"type": "json_object"} if schema is None else {"type": "json_schema", **schema}
    body["text"] = {"format": form}


def _items(request: RequestEvent) -> list[Json]:
    """The messages as input items, in their order. Raises signals.Invalid where a part can't be sent."""
    items: list[Json] = []
    for message in encoding.conversation(request):
        outputs = [part for part in message.content if part.type == "tool_result"]
        rest = [part for part in message.content if part.type != "tool_result"]
        items.extend(_output(group) for group in results(outputs))
        if message.role == "assistant":
            items.extend(_said(rest))
        elif rest or not outputs:
            content = [_input(part) for part in rest if not _skipped(part)]
            items.append({"type": "message", "role": message.role, "content": _plain(content)})
    return items


def _plain(content: list[Json]) -> str | list[Json]:
    """A text alone is a string, which every server understands."""
    if not content:
        return ""
    alone = len(content) == 1 and content[0]["type"] == "input_text"
    return str(content[0]["text"]) if alone else content


def _skipped(part: ContentPart) -> bool:
    """Another vendor's blocks, and reasoning where none belongs."""
    return part.type in ("thinking", "redacted_thinking") or part.type.startswith("vendor:")


def _input(part: ContentPart) -> Json:
    if part.type == "text":
        return {"type": "input_text", "text": part.text or ""}
    if part.type == "image":
        return {"type": "input_image", "detail": "auto", "image_url": encoding.media(part)}
    if part.type == "document":
        if part.data is None and part.uri is not None:
            return {"type": "input_file", "file_url": part.uri}
        return {"type": "input_file", "filename": "document", "file_data": encoding.media(part)}
    raise Invalid("invalid_request", f"a part of type {part.type!r} can't be sent to the Responses API")


def _output(group: list[ContentPart]) -> Json:
    """One result of one tool call: a text, or a list where it has more than that."""
    content: list[Json] = []
    for part in group:
        if part.text:
            content.append({"type": "input_text", "text": part.text})
        if part.data is not None or part.uri is not None:
            kind = "image" if (part.media_type or "").startswith("image/") else "document"
            shown = ContentPart(type=kind, data=part.data, uri=part.uri, media_type=part.media_type)
            content.append(_input(shown))
    return {
        "type": "function_call_output",
        "call_id": group[0].tool_call_id or "",
        "output": _plain(content),
    }


def _said(parts: list[ContentPart]) -> Iterator[Json]:
    """The items of an assistant's message; neighbouring reasoning parts of one id are one item."""
    for (kind, item_id), group in groupby(parts, key=lambda part: (part.type, part.id)):
        if kind == "thinking":
            if item_id is not None and item_id.startswith(_REASONING_ID):
                yield _reasoning(item_id, list(group))
            continue
        for part in group:
            if kind == "text":
                yield _message(part)
            elif kind == "tool_call":
                yield {
                    "type": "function_call",
                    "call_id": part.tool_call_id or "",
                    "name": part.tool_name or "",
                    "arguments": part.arguments or "{}",
                }
            elif kind == VENDOR_PART:
                yield json_text.read_object(part.text or "", f"the text of a {VENDOR_PART} part")
            elif not _skipped(part):
                raise Invalid("invalid_request", f"a part of type {kind!r} can't be sent as the assistant's")


def _reasoning(item_id: str, parts: list[ContentPart]) -> Json:
    """As it came: summaries with what is encrypted, or the reasoning itself of an open model."""
    texts = [part.text for part in parts if part.text]
    signature = next((part.signature for part in parts if part.signature), None)
    item: Json = {"type": "reasoning", "id": item_id, "summary": []}
    if signature is None:
        item["content"] = [{"type": "reasoning_text", "text": text} for text in texts]
    else:
        item["summary"] = [{"type": "summary_text", "text": text} for text in texts]
        item["encrypted_content"] = signature
    return item


def _message(part: ContentPart) -> Json:
    """With its phase, which the vendor wants back, where it had one."""
    phase, _, item_id = (part.id or "").partition("/")
    if phase not in PHASES:
        return {"type": "message", "role": "assistant", "content": part.text or ""}
    content = [{"type": "output_text", "text": part.text or "", "annotations": []}]
    item: Json = {"type": "message", "role": "assistant", "status": "completed", "phase": phase}
    return {**item, "id": item_id, "content": content}
