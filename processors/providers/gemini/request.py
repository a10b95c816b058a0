"""A call task as the body of Google's `generateContent`, for the Gemini API and for Vertex AI."""

from typing import Any, Final

from processors.providers import json_text
from processors.providers.encoding import always_strict, extra, without
from processors.providers.gemini.contents import contents
from processors.providers.gemini.models import thinking
from processors.providers.unsupported import Dropped
from schemas.config import Model
from schemas.records import CallTask, Parameters, RequestEvent
from schemas.signals import Invalid

_SAMPLING: Final = (
    ("temperature", "temperature"),
    ("top_p", "topP"),
    ("top_k", "topK"),
    ("seed", "seed"),
    ("frequency_penalty", "frequencyPenalty"),
    ("presence_penalty", "presencePenalty"),
)
_RESERVED: Final = frozenset({"contents", "systemInstruction", "model"})
# What bounds the cost of a call: the tokens of an answer, and how many answers there are.
_BOUNDS: Final = frozenset({"maxOutputTokens", "candidateCount"})
_CHOICES: Final = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


def body_of(task: CallTask, model: Model, dropped: Dropped, *, ids: bool) -> dict[str, Any]:
    """The body of a request. `ids`: the API knows ids of function calls. Raises signals.Invalid."""
    request = task.request
    body: dict[str, Any] = {"contents": contents(request, model.vendor_model, dropped, ids=ids)}
    if request.system:
        body["systemInstruction"] = {"parts": [{"text": request.system}]}
    body.update(_tools(request, dropped))
    config = _sampling(request.parameters, model.vendor_model, dropped)
    config.update(_format(request, dropped))
    without(
        request,
        dropped,
        "cache",
        "Gemini caches by itself; an explicit cache is named by extra.cachedContent",
    )
    wanted = request.parameters
    if wanted is not None and wanted.service_tier is not None:
        body["serviceTier"] = wanted.service_tier
    _take_extra(body, config, wanted)
    config["maxOutputTokens"] = task.max_output_tokens
    body["generationConfig"] = config
    return body


def _sampling(wanted: Parameters | None, vendor_model: str, dropped: Dropped) -> dict[str, Any]:
    if wanted is None:
        return {}
    config = {theirs: value for ours, theirs in _SAMPLING if (value := getattr(wanted, ours)) is not None}
    if wanted.stop:
        config["stopSequences"] = wanted.stop
    thoughts = thinking(wanted, vendor_model, dropped)
    if thoughts is not None:
        config["thinkingConfig"] = thoughts
    return config


def _format(request: RequestEvent, dropped: Dropped) -> dict[str, Any]:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return {}
    config: dict[str, Any] = {"responseMimeType": "application/json"}
    if wanted.type == "json_schema":
        always_strict(request, dropped)
        schema = wanted.json_schema or "{}"
        config["responseJsonSchema"] = json_text.read(schema, "response_format.json_schema")
    return config


def _tools(request: RequestEvent, dropped: Dropped) -> dict[str, Any]:
    if not request.tools:
        return {}
    declarations: list[dict[str, Any]] = []
    for tool in request.tools:
        declared: dict[str, Any] = {"name": tool.name}
        if tool.description:
            declared["description"] = tool.description
        schema = json_text.read_object(tool.input_schema, f"tools.{tool.name}.input_schema")
        if schema:
            declared["parametersJsonSchema"] = schema
        declarations.append(declared)
    body: dict[str, Any] = {"tools": [{"functionDeclarations": declarations}]}
    choice = request.tool_choice
    if choice:
        mode = {"mode": _CHOICES.get(choice, "ANY")}
        named = {} if choice in _CHOICES else {"allowedFunctionNames": [choice]}
        body["toolConfig"] = {"functionCallingConfig": {**mode, **named}}
    if request.parallel_tool_calls is False:
        dropped.note("parallel_tool_calls", "Gemini has no way to forbid parallel function calls")
    return body


def _take_extra(body: dict[str, Any], config: dict[str, Any], wanted: Parameters | None) -> None:
    """The vendor's own parameters: fields of `generationConfig` and `toolConfig` join ours, `tools` come beside ours.

    Google reads every name in two spellings; one of them is refused, so that no bound can be told twice.
    """
    for name, value in extra(wanted, _RESERVED).items():
        _check_spelling(name, f"parameters.extra.{name}")
        if name == "generationConfig":
            config.update(_own_config(value))
        elif name == "tools" and isinstance(value, list):
            body["tools"] = body.get("tools", []) + value
        elif name == "toolConfig" and isinstance(value, dict):
            body["toolConfig"] = {**body.get("toolConfig", {}), **value}
        else:
            body[name] = value


def _own_config(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Invalid("invalid_request", "parameters.extra.generationConfig must be a JSON object")
    for name in value:
        place = f"parameters.extra.generationConfig.{name}"
        _check_spelling(name, place)
        if name in _BOUNDS:
            raise Invalid("invalid_request", f"{place}: the request's own fields decide this")
    return value


def _check_spelling(name: str, place: str) -> None:
    if "_" in name:
        raise Invalid("invalid_request", f"{place}: write the name in camelCase, as in responseModalities")
