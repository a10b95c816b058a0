"""A call task as the body of Bedrock's ConverseStream."""

from typing import Any, Final
from urllib.parse import quote

from processors.providers import json_text
from processors.providers.anthropic.models import EFFORTS, Traits, reasoning, sampling, thinks, traits
from processors.providers.base import HttpRequest
from processors.providers.bedrock.content import Blocks, tool_schema
from processors.providers.encoding import JSON_HEADERS, always_strict, extra
from processors.providers.turns import turns
from processors.providers.unsupported import Dropped
from schemas.config import Model
from schemas.records import CallTask, Parameters, RequestEvent
from schemas.signals import Invalid

_RESERVED: Final = frozenset({"modelId", "messages", "system", "inferenceConfig"})
_UNKNOWN: Final = ("seed", "frequency_penalty", "presence_penalty")
_SAMPLING: Final = (("temperature", "temperature"), ("top_p", "topP"))
_TIERS: Final = ("priority", "default", "flex", "reserved")


def encode(task: CallTask, model: Model) -> HttpRequest:
    """The ConverseStream call of a task. Raises signals.Invalid where it can't be expressed."""
    request, dropped = task.request, Dropped(model.unsupported)
    wanted = request.parameters or Parameters()
    accepts = traits(model.vendor_model)
    blocks = Blocks(accepts.claude, dropped)
    body: dict[str, Any] = {"messages": blocks.messages(turns(request, dropped))}
    if request.system:
        body["system"] = [{"text": request.system}]
    body["inferenceConfig"] = {"maxTokens": task.max_output_tokens}
    _parameters(body, wanted, model.vendor_model, accepts, dropped)
    _tools(body, request, blocks.calls_tools, dropped)
    _format(body, request, model, accepts, dropped)
    json_text.join(body, extra(wanted, _RESERVED))
    # The model's id is one segment of the path, whatever is in it (an ARN has slashes).
    path = f"/model/{quote(model.vendor_model, safe='')}/converse-stream"
    return HttpRequest("POST", path, dict(JSON_HEADERS), json_text.write(body), dropped.names)


def _parameters(
    body: dict[str, Any], wanted: Parameters, vendor_model: str, accepts: Traits, dropped: Dropped
) -> None:
    for name in _UNKNOWN:
        if getattr(wanted, name) is not None:
            dropped.note(f"parameters.{name}", "Converse doesn't know it")
    config, more = body["inferenceConfig"], {}
    if wanted.stop:
        config["stopSequences"] = wanted.stop
    if accepts.claude:
        thinking, effort = reasoning(wanted, accepts, config["maxTokens"], dropped)
    else:
        thinking, effort = None, _effort(wanted, dropped)
    if thinking is not None:
        more["thinking"] = thinking
    if effort is not None:
        body["outputConfig"] = {"effort": effort}
    chosen = sampling(wanted, accepts, thinking, dropped, most=1)
    config.update((ours, chosen[name]) for name, ours in _SAMPLING if name in chosen)
    if "top_k" in chosen:
        more.update(_top_k(chosen["top_k"], vendor_model, accepts, dropped))
    if more:
        body["additionalModelRequestFields"] = more
    if wanted.service_tier in _TIERS:
        body["serviceTier"] = {"type": wanted.service_tier}
    elif wanted.service_tier is not None:
        dropped.note("parameters.service_tier", f"this vendor knows {', '.join(_TIERS)}")


def _effort(wanted: Parameters, dropped: Dropped) -> str | None:
    """The effort of a model that isn't Claude: Converse tells it in one field for all."""
    if wanted.reasoning_budget is not None:
        dropped.note("parameters.reasoning_budget", "Converse knows it of Claude alone")
    if wanted.reasoning_effort is not None and wanted.reasoning_effort not in EFFORTS:
        dropped.note("parameters.reasoning_effort", f"Converse knows {', '.join(EFFORTS)}")
        return None
    return wanted.reasoning_effort


def _top_k(value: float, vendor_model: str, accepts: Traits, dropped: Dropped) -> dict[str, Any]:
    """Converse has no field for it: each family of models has its own."""
    if accepts.claude:
        return {"top_k": value}
    if "amazon.nova" in vendor_model:
        return {"inferenceConfig": {"topK": value}}
    dropped.note("parameters.top_k", "Converse knows it of Claude and Nova alone")
    return {}


def _tools(body: dict[str, Any], request: RequestEvent, calls_tools: bool, dropped: Dropped) -> None:
    choice = request.tool_choice
    if not request.tools or (choice == "none" and not calls_tools):
        return
    specs = []
    for tool in request.tools:
        spec: dict[str, Any] = {
            "name": tool.name,
            "inputSchema": {"json": tool_schema(tool.input_schema, tool.name)},
        }
        if tool.description:
            spec["description"] = tool.description
        specs.append({"toolSpec": spec})
    body["toolConfig"] = {"tools": specs}
    if request.parallel_tool_calls is False:
        dropped.note("parallel_tool_calls", "Converse doesn't know it")
    if choice == "none":
        # Calls in the conversation want their tools described.
        dropped.note("tool_choice", "Converse can't forbid tools that the conversation has called")
    elif choice not in (None, "auto") and thinks(
        body.get("additionalModelRequestFields", {}).get("thinking")
    ):
        dropped.note("tool_choice", "a model that reasons can't be made to call a tool")
    elif choice == "required":
        body["toolConfig"]["toolChoice"] = {"any": {}}
    elif choice == "auto":
        body["toolConfig"]["toolChoice"] = {"auto": {}}
    elif choice is not None:
        body["toolConfig"]["toolChoice"] = {"tool": {"name": choice}}


def _format(
    body: dict[str, Any], request: RequestEvent, model: Model, accepts: Traits, dropped: Dropped
) -> None:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return
    told = model.capabilities.json_schema
    if wanted.type != "json_schema":
        dropped.note("response_format", "Converse wants a schema (type json_schema)")
    elif not (accepts.json_schema if told is None else told):
        dropped.note("response_format", "this model knows no JSON schema")
    elif not wanted.json_schema:
        raise Invalid("invalid_request", "response_format.json_schema: type json_schema needs a schema")
    else:
        always_strict(request, dropped)
        schema = {"schema": wanted.json_schema, "name": wanted.name or "output"}
        form = {"type": "json_schema", "structure": {"jsonSchema": schema}}
        body.setdefault("outputConfig", {})["textFormat"] = form
