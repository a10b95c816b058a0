"""A call task as the body of a streamed message of Anthropic's Messages API."""

from typing import Any, Final

from processors.providers import json_text
from processors.providers.anthropic.content import Blocks
from processors.providers.anthropic.models import Traits, reasoning, sampling, thinks, traits
from processors.providers.base import HttpRequest
from processors.providers.encoding import JSON_HEADERS, always_strict, extra
from processors.providers.turns import turns
from processors.providers.unsupported import Dropped
from schemas.config import Model
from schemas.records import CallTask, Parameters, RequestEvent, Tool

VERSION: Final = "2023-06-01"
_RESERVED: Final = frozenset({"model", "messages", "system", "max_tokens", "stream"})
_UNKNOWN: Final = ("seed", "frequency_penalty", "presence_penalty")
_TIERS: Final = {"auto": "auto", "standard_only": "standard_only", "default": "standard_only"}
_CHOICES: Final = {"auto": "auto", "none": "none", "required": "any"}


def encode(task: CallTask, model: Model) -> HttpRequest:
    """The streamed message of a task. Raises signals.Invalid where it can't be expressed."""
    request, dropped = task.request, Dropped(model.unsupported)
    wanted = request.parameters or Parameters()
    accepts = traits(model.vendor_model)
    body: dict[str, Any] = {
        "model": model.vendor_model,
        "max_tokens": task.max_output_tokens,
        "messages": Blocks(dropped).messages(turns(request, dropped)),
        "stream": True,
    }
    if request.system:
        body["system"] = request.system
    _parameters(body, wanted, accepts, dropped)
    _tools(body, request, dropped)
    _format(body, request, model, accepts, dropped)
    json_text.join(body, extra(wanted, _RESERVED))
    headers = {**JSON_HEADERS, "anthropic-version": VERSION}
    return HttpRequest("POST", "/v1/messages", headers, json_text.write(body), dropped.names)


def _parameters(body: dict[str, Any], wanted: Parameters, accepts: Traits, dropped: Dropped) -> None:
    for name in _UNKNOWN:
        if getattr(wanted, name) is not None:
            dropped.note(f"parameters.{name}", "this vendor doesn't know it")
    if wanted.stop:
        body["stop_sequences"] = wanted.stop
    if wanted.service_tier is not None:
        tier = _TIERS.get(wanted.service_tier)
        if tier is None:
            dropped.note("parameters.service_tier", f"this vendor knows {', '.join(_TIERS)}")
        else:
            body["service_tier"] = tier
    thinking, effort = reasoning(wanted, accepts, body["max_tokens"], dropped)
    if thinking is not None:
        body["thinking"] = thinking
    if effort is not None:
        body["output_config"] = {"effort": effort}
    body.update(sampling(wanted, accepts, thinking, dropped, most=1 if accepts.claude else 2))


def _tool(tool: Tool) -> dict[str, Any]:
    schema = json_text.read_object(tool.input_schema, f"tools.{tool.name}.input_schema")
    out: dict[str, Any] = {"name": tool.name, "input_schema": {"type": "object", **schema}}
    if tool.description:
        out["description"] = tool.description
    return out


def _tools(body: dict[str, Any], request: RequestEvent, dropped: Dropped) -> None:
    if not request.tools:
        return
    body["tools"] = [_tool(tool) for tool in request.tools]
    choice = _choice(request.tool_choice, body, dropped)
    if request.parallel_tool_calls is False and (choice is None or choice["type"] != "none"):
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    if choice is not None:
        body["tool_choice"] = choice


def _choice(wanted: str | None, body: dict[str, Any], dropped: Dropped) -> dict[str, Any] | None:
    if wanted is None:
        return None
    kind = _CHOICES.get(wanted, "tool")
    if thinks(body.get("thinking")) and kind in ("any", "tool"):
        dropped.note("tool_choice", "a model that reasons can't be made to call a tool")
        return None
    return {"type": kind, "name": wanted} if kind == "tool" else {"type": kind}


def _format(
    body: dict[str, Any], request: RequestEvent, model: Model, accepts: Traits, dropped: Dropped
) -> None:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return
    told = model.capabilities.json_schema
    if wanted.type != "json_schema":
        dropped.note("response_format", "this vendor wants a schema (type json_schema)")
    elif not (accepts.json_schema if told is None else told):
        dropped.note("response_format", "this model knows no JSON schema")
    else:
        always_strict(request, dropped)
        schema = json_text.read_object(wanted.json_schema or "{}", "response_format.json_schema")
        body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": schema}
