"""A call task as the body of an OpenAI-compatible chat completion."""

import hashlib
from typing import Any, Final

from processors.providers import encoding, json_text
from processors.providers.base import HttpRequest
from processors.providers.openai.messages import Messages
from processors.providers.openai.models import SAMPLING, refuses_stop, samples_alone
from processors.providers.openai.presets import COMPATIBLE, Dialect
from processors.providers.unsupported import Dropped
from schemas.config import Model
from schemas.records import CallTask, Parameters, RequestEvent

_SAMPLING: Final = (
    "temperature",
    "top_p",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "top_k",
    "service_tier",
)
# What `extra` can't set: the content that was checked, the model, and what bounds the cost.
RESERVED: Final = frozenset(
    {"model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n"}
)
# What a vendor keeps a prefix for anyway, where it isn't told.
_SHORT_LIVES: Final = ("ephemeral", "ephemeral_5m")
Json = dict[str, Any]


def encode(
    task: CallTask, model: Model, dialect: Dialect = COMPATIBLE, path: str = "/chat/completions"
) -> HttpRequest:
    """The streamed chat completion of a task. Raises signals.Invalid where it can't be expressed."""
    request, dropped = task.request, Dropped(model.unsupported)
    parameters = request.parameters
    body: Json = {
        "model": model.vendor_model,
        "messages": Messages(dialect, dropped).of(request),
        "stream": True,
        limit_of(dialect, model): task.max_output_tokens,
    }
    if dialect.usage_option:
        body["stream_options"] = {"include_usage": True}
    if parameters is not None:
        _sampling(body, parameters, model, dialect, dropped)
        _reasoning(body, parameters, dialect, dropped)
    if request.tools:
        _tools(body, request, dialect, dropped)
    _format(body, request, dialect, dropped)
    encoding.without(
        request, dropped, "is_error", "Chat Completions' tool results know no errors: say it in the text"
    )
    if dialect.cache is None:
        encoding.without(request, dropped, "cache", f"{dialect.name} caches by itself")
    if dialect.cache == "prompt_cache_key" and (key := hinted_key(task, dropped)):
        body["prompt_cache_key"] = key
    merge(body, encoding.extra(parameters, RESERVED))
    return HttpRequest("POST", path, dict(encoding.JSON_HEADERS), json_text.write(body), dropped.names)


def merge(body: Json, extra: Json) -> None:
    """Put the vendor's own parameters into a body: a value replaces ours, objects and lists are joined."""
    for name, value in extra.items():
        ours = body.get(name)
        if isinstance(ours, dict) and isinstance(value, dict):
            body[name] = {**ours, **value}
        elif isinstance(ours, list) and isinstance(value, list):
            body[name] = ours + value
        else:
            body[name] = value


def limit_of(dialect: Dialect, model: Model) -> str:
    """The field that bounds the output of a model."""
    reasons = dialect.reasoning_limit is not None and model.capabilities.reasoning
    return (dialect.reasoning_limit if reasons else None) or dialect.limit


def _sampling(body: Json, parameters: Parameters, model: Model, dialect: Dialect, dropped: Dropped) -> None:
    unsupported = dialect.unsupported
    alone = dialect.own_sampling and samples_alone(model, parameters)
    for name in _SAMPLING:
        value = getattr(parameters, name)
        if value is None:
            continue
        if name in unsupported:
            dropped.note(f"parameters.{name}", f"{dialect.name}: {unsupported[name]}")
        elif alone and name in SAMPLING:
            dropped.note(f"parameters.{name}", "a model that reasons samples its own way")
        else:
            body[name] = value
    if parameters.stop and dialect.own_sampling and refuses_stop(model):
        dropped.note("parameters.stop", "this model knows no stop sequences")
    elif parameters.stop:
        body["stop"] = parameters.stop


def _reasoning(body: Json, parameters: Parameters, dialect: Dialect, dropped: Dropped) -> None:
    """Effort and budget, where the dialect has its place for them."""
    effort, budget = parameters.reasoning_effort, parameters.reasoning_budget
    if budget is not None and dialect.budget is None:
        why = dialect.unsupported.get("reasoning_budget", "the server has no such parameter")
        dropped.note("parameters.reasoning_budget", f"{dialect.name}: {why}")
        budget = None
    if dialect.effort == "reasoning":
        if budget is not None and effort is not None:  # the server takes one of the two
            dropped.note("parameters.reasoning_effort", f"{dialect.name}: not beside reasoning_budget")
        if budget is not None or effort is not None:
            body["reasoning"] = {"effort": effort} if budget is None else {"max_tokens": budget}
        return
    if effort is not None:
        if dialect.effort == "chat_template_kwargs":
            body["chat_template_kwargs"] = {"reasoning_effort": effort}
        else:
            body["reasoning_effort"] = effort
    if budget is not None and dialect.budget is not None:
        body[dialect.budget] = budget


def _tools(body: Json, request: RequestEvent, dialect: Dialect, dropped: Dropped) -> None:
    body["tools"] = [
        {"type": "function", "function": function(tool.name, tool.description, tool.input_schema)}
        for tool in request.tools
    ]
    choice = request.tool_choice
    if choice in ("auto", "none", "required"):
        body["tool_choice"] = choice
    elif choice:
        body["tool_choice"] = {"type": "function", "function": {"name": choice}}
    if request.parallel_tool_calls is not None:
        why = dialect.unsupported.get("parallel_tool_calls")
        if why is None:
            body["parallel_tool_calls"] = request.parallel_tool_calls
        else:
            dropped.note("parallel_tool_calls", f"{dialect.name}: {why}")


def function(name: str, description: str | None, input_schema: str) -> Json:
    """A tool's definition. Raises signals.Invalid where its schema is no JSON object."""
    out: Json = {
        "name": name,
        "parameters": json_text.read_object(input_schema, f"tools.{name}.input_schema"),
    }
    if description:
        out["description"] = description
    return out


def _format(body: Json, request: RequestEvent, dialect: Dialect, dropped: Dropped) -> None:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return
    schema = json_schema(request)
    if schema is not None and not dialect.json_schema:
        dropped.note("response_format.json_schema", f"{dialect.name} knows JSON mode but no schema")
        schema = None
    if schema is None:
        body["response_format"] = {"type": "json_object"}
    else:
        body["response_format"] = {"type": "json_schema", "json_schema": schema}


def json_schema(request: RequestEvent) -> Json | None:
    """Name, schema and strictness of the response format; None where it is JSON without a schema."""
    wanted = request.response_format
    if wanted is None or wanted.type != "json_schema":
        return None
    schema = json_text.read_object(wanted.json_schema or "{}", "response_format.json_schema")
    named: Json = {"name": wanted.name or "output", "schema": schema}
    if wanted.strict is not None:
        named["strict"] = wanted.strict
    return named


def hinted_key(task: CallTask, dropped: Dropped) -> str | None:
    """As `cache_key`; reports a hint that asks for more than a key can tell. Raises signals.Invalid under `reject`."""
    for message in encoding.conversation(task.request):
        for part in message.content:
            if part.cache and part.cache not in _SHORT_LIVES:
                dropped.note("content.cache", f"a cache key tells no time: use {' or '.join(_SHORT_LIVES)}")
    return cache_key(task)


def cache_key(task: CallTask) -> str | None:
    """A key that requests of a tenant share where their prefix up to the last cache hint is the same.

    The vendor sends equal keys to the machine that holds the prefix. None without a hint.
    """
    request = task.request
    parts = [(message.role, part) for message in encoding.conversation(request) for part in message.content]
    last = next((n for n in range(len(parts), 0, -1) if parts[n - 1][1].cache), 0)
    if not last:
        return None
    seen = hashlib.sha256(f"{task.tenant}\0{request.system or ''}\0".encode("utf-8", "surrogatepass"))
    for tool in request.tools:
        seen.update(f"{tool.name}\0{tool.input_schema}\0".encode("utf-8", "surrogatepass"))
    for role, part in parts[:last]:
        text = f"{role}\0{part.type}\0{part.text}\0{part.uri}\0{part.arguments}\0"
        seen.update(text.encode("utf-8", "surrogatepass"))
        seen.update(part.data or b"")
    return seen.hexdigest()[:32]
