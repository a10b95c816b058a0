"""What the generations of Claude accept, told by the model's name: on Anthropic's own API, on Bedrock and Vertex.

generation | sampling parameters | thinking by budget | adaptive thinking | effort                  | JSON schema
to 4.1     | yes                 | yes                | no                | no                      | no
4.5        | yes                 | yes                | no                | Opus: low, medium, high | yes
4.6        | yes                 | yes                | yes               | and max                 | yes
from 4.7   | no                  | no                 | yes               | and xhigh               | yes

Fable and Mythos think always. A name that isn't Claude's (a server that speaks this wire) is taken to accept all.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from processors.providers.unsupported import Dropped
from schemas.records import Parameters
from schemas.signals import Invalid

_NAME: Final = re.compile(r"claude-([a-z0-9.@:-]+)")
_NUMBER: Final = re.compile(r"\d{1,2}")
_LEAST_BUDGET: Final = 1024
_NEWEST: Final = (99, 0)
_ALWAYS_THINKING: Final = frozenset({"fable", "mythos"})


@dataclass(frozen=True, slots=True)
class Traits:
    """What a model accepts. `claude`: the name is one of Claude's, so that the rest is known."""

    claude: bool
    sampling: bool
    budget: bool
    adaptive: bool
    always_thinks: bool
    efforts: tuple[str, ...]
    json_schema: bool


EFFORTS: Final = ("low", "medium", "high", "xhigh", "max")
_ANY: Final = Traits(False, True, True, True, False, EFFORTS, True)


def _generation(name: str) -> tuple[str, tuple[int, int]]:
    """(family, generation) of what follows `claude-`: ("sonnet", (4, 5)) of both `sonnet-4-5-20250929` and the like."""
    words = re.split(r"[-@:.]", name)
    family = next((word for word in words if word.isalpha()), "")
    numbers: list[int] = []
    for word in words:
        if _NUMBER.fullmatch(word):
            numbers.append(int(word))
        elif numbers:
            break
    if not numbers:
        return family, _NEWEST
    return family, (numbers[0], numbers[1] if len(numbers) > 1 else 0)


@lru_cache(maxsize=256)
def traits(vendor_model: str) -> Traits:
    """What the model accepts, by its name."""
    found = _NAME.search(vendor_model)
    if found is None:
        return _ANY
    family, generation = _generation(found[1])
    always = family in _ALWAYS_THINKING
    if generation >= (4, 7):
        return Traits(True, False, False, True, always, EFFORTS, True)
    if generation >= (4, 6):
        return Traits(True, True, True, True, always, ("low", "medium", "high", "max"), True)
    if generation >= (4, 5):
        efforts = ("low", "medium", "high") if family == "opus" else ()
        return Traits(True, True, True, False, always, efforts, True)
    return Traits(True, True, True, False, always, (), False)


def reasoning(
    wanted: Parameters, accepts: Traits, max_tokens: int, dropped: Dropped
) -> tuple[dict[str, Any] | None, str | None]:
    """(thinking configuration, effort) for what the request says about reasoning; None leaves the model's default.

    Raises signals.Invalid where the budget can't be met.
    """
    thinking = _budgeted(wanted.reasoning_budget, accepts, max_tokens, dropped)
    effort = wanted.reasoning_effort
    if effort is None:
        return thinking, None
    if effort == "none":
        if thinking is not None:
            dropped.note(
                "parameters.reasoning_effort", "reasoning_budget says more: leave one of the two out"
            )
        elif accepts.always_thinks:
            dropped.note("parameters.reasoning_effort", "this model thinks always")
        elif accepts.adaptive:
            thinking = {"type": "disabled"}
        return thinking, None
    if effort not in accepts.efforts:
        known = ", ".join(accepts.efforts)
        why = f"this model knows {known}" if known else "this model takes parameters.reasoning_budget instead"
        dropped.note("parameters.reasoning_effort", why)
        return thinking, None
    if thinking is None and accepts.adaptive:
        thinking = {"type": "adaptive"}
    return thinking, effort


def _budgeted(
    budget: int | None, accepts: Traits, max_tokens: int, dropped: Dropped
) -> dict[str, Any] | None:
    if budget is None:
        return None
    name = "parameters.reasoning_budget"
    if not accepts.budget:
        dropped.note(name, "this model measures its thinking itself (parameters.reasoning_effort)")
        return None
    if not _LEAST_BUDGET <= budget < max_tokens:
        text = f"{name} is {budget}: it must be at least {_LEAST_BUDGET} and below max_tokens ({max_tokens})"
        raise Invalid("invalid_request", text)
    return {"type": "enabled", "budget_tokens": budget}


def thinks(thinking: dict[str, Any] | None) -> bool:
    """Whether a thinking configuration makes the model think."""
    return thinking is not None and thinking["type"] != "disabled"


def sampling(
    wanted: Parameters, accepts: Traits, thinking: dict[str, Any] | None, dropped: Dropped, *, most: float
) -> dict[str, float | int]:
    """temperature (up to `most`), top_p and top_k as far as the model takes them beside that thinking."""
    claude_thinks = accepts.claude and thinks(thinking)
    out: dict[str, float | int] = {}
    for name in ("temperature", "top_p", "top_k"):
        value = getattr(wanted, name)
        if value is None:
            continue
        if not accepts.sampling:
            dropped.note(f"parameters.{name}", "this model takes no sampling parameters")
        elif name == "temperature" and value > most:
            dropped.note("parameters.temperature", f"this vendor takes 0 to {most:g}")
        elif claude_thinks and (name == "top_k" or (name == "temperature" and value != 1)):
            dropped.note(f"parameters.{name}", "it doesn't go with reasoning")
        else:
            out[name] = value
    return out
