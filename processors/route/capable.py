"""Which candidates can serve a request at all: they take what it contains, and its prompt fits their window."""

from typing import Final

from processors.request_size import measured, parts_of
from processors.tokens import least_tokens
from schemas.config import Config, Model
from schemas.records import Problem, RequestEvent

_MEDIA: Final = ("image", "document", "audio")
_WAY_OUT: Final = {
    "image": "leave the images out",
    "document": "leave the documents out",
    "audio": "leave the audio out",
    "tools": "offer no tools",
    "json_schema": "ask for plain JSON without a schema",
}


def capable(
    candidates: list[str], request: RequestEvent, config: Config, allowed: list[str]
) -> list[str] | Problem:
    """The candidates that can serve the request, in their order; or what to change, where none can.

    What isn't known of a model counts as something that it can. `allowed`: the models that the tenant may name.
    """
    needs = _needs(request)
    able = [name for name in candidates if not _lacks(config.models[name], needs)]
    if not able:
        return _not_capable(candidates, needs, config, allowed)
    size = measured(request).text
    fitting = [name for name in able if _fits(config.models[name], request, size)]
    return fitting or _too_long(able, request, config)


def _needs(request: RequestEvent) -> list[str]:
    kinds = {part.type for part in parts_of(request)}
    needs: list[str] = [kind for kind in _MEDIA if kind in kinds]
    if request.tools:
        needs.append("tools")
    form = request.response_format
    if form is not None and form.type == "json_schema":
        needs.append("json_schema")
    return needs


def _lacks(model: Model, needs: list[str]) -> list[str]:
    can = model.capabilities
    kinds = can.modalities
    return [
        need
        for need in needs
        if (kinds is not None and need not in kinds if need in _MEDIA else getattr(can, need) is False)
    ]


def _fits(model: Model, request: RequestEvent, size: int) -> bool:
    """A token is at least a byte, so that most need no counting."""
    return size < model.context_window or _least(model, request) < model.context_window


def _least(model: Model, request: RequestEvent) -> int:
    return min(least_tokens(request, place.vendor_model) for place in model.places)


def _not_capable(candidates: list[str], needs: list[str], config: Config, allowed: list[str]) -> Problem:
    lacking = {name: _lacks(config.models[name], needs) for name in candidates}
    told = "; ".join(f"{name} can't take {', '.join(lacks)}" for name, lacks in lacking.items())
    others = [n for n in allowed if n not in lacking and not _lacks(config.models[n], needs)]
    ways = [_WAY_OUT[need] for need in needs if any(need in lacks for lacks in lacking.values())]
    if others:
        ways.append(f"name a model that can: {', '.join(sorted(others))}")
    return Problem(code="not_capable", message=f"{told}: {', or '.join(ways)}", field="model")


def _too_long(candidates: list[str], request: RequestEvent, config: Config) -> Problem:
    told = ", ".join(
        f"{name} holds {config.models[name].context_window} tokens and it has {_least(config.models[name], request)}"
        " or more"
        for name in candidates
    )
    return Problem(code="context_exceeded", message=f"the prompt is too long ({told}): shorten it", field="messages")
