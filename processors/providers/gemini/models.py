"""What the generations of Gemini accept, told by the model's name.

generation | reasoning by            | signatures of tool calls
to 2.5     | budget (tokens)         | optional
from 3     | level, or a budget      | required in the turn that goes on
"""

import re
from functools import lru_cache
from typing import Any, Final

from processors.providers.unsupported import Dropped
from schemas.records import Parameters
from schemas.signals import Invalid

_NAME: Final = re.compile(r"gemini-(?:[a-z-]*?)(\d{1,2})(?:[.-]|$)")
_LEVELS: Final = {
    "none": "MINIMAL", "minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "XHIGH",
}  # fmt: skip
# What Google's own OpenAI-compatible server takes these for where a model knows budgets only.
_BUDGETS: Final = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576}
# Google's documented stand-in for the signature of a call that Gemini didn't make, or that was lost.
NO_SIGNATURE: Final = "skip_thought_signature_validator"


@lru_cache(maxsize=256)
def generation(vendor_model: str) -> int | None:
    """The main version of a Gemini model; None for names that don't tell (tuned models, other families)."""
    name = vendor_model.rpartition("/")[2]
    found = _NAME.match(name)
    if found is not None:
        return int(found[1])
    return 99 if name.startswith("gemini-") and name.endswith("-latest") else None


def by_level(vendor_model: str) -> bool:
    """Whether the model measures its thinking by levels. Those whose name doesn't tell are taken for new ones."""
    known = generation(vendor_model)
    return known is None or known >= 3


def needs_signatures(vendor_model: str) -> bool:
    """Whether the model refuses a conversation in which a call of the running turn lacks its signature."""
    known = generation(vendor_model)
    return known is not None and known >= 3


def thinking(wanted: Parameters, vendor_model: str, dropped: Dropped) -> dict[str, Any] | None:
    """The `thinkingConfig` for what a request says about reasoning; None leaves the model's default.

    Summaries of the thoughts are asked for wherever thinking is. Raises signals.Invalid.
    """
    effort, budget = wanted.reasoning_effort, wanted.reasoning_budget
    if budget is not None:
        if budget < 0:
            raise Invalid("invalid_request", f"parameters.reasoning_budget is {budget}: it must be 0 or more")
        if effort is not None:
            why = "Gemini takes a budget or an effort, and the budget says more"
            dropped.note("parameters.reasoning_effort", why)
        return _config({"thinkingBudget": budget}, budget > 0)
    if effort is None:
        return None
    known: dict[str, Any] = _LEVELS if by_level(vendor_model) else _BUDGETS
    if effort not in known:
        dropped.note("parameters.reasoning_effort", f"this model knows {', '.join(known)}")
        return None
    name = "thinkingLevel" if known is _LEVELS else "thinkingBudget"
    return _config({name: known[effort]}, effort != "none")


def _config(config: dict[str, Any], thinks: bool) -> dict[str, Any]:
    return {**config, "includeThoughts": True} if thinks else config
