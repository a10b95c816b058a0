"""What OpenAI's reasoning models refuse, by their names and by what the configuration says of them."""

from typing import Final

from schemas.config import Model
from schemas.records import Parameters

# With any reasoning they sample their own way.
SAMPLING: Final = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
_ALWAYS: Final = ("o1", "o3", "o4")
_NO_STOP: Final = ("o3", "o4")


def samples_alone(model: Model, parameters: Parameters) -> bool:
    """Whether the model refuses to be told how to sample.

    The first reasoning models always do; later ones, whose default is not to reason, once an effort is asked for.
    """
    effort, name = parameters.reasoning_effort, model.vendor_model
    if effort == "none":
        return False
    if name.startswith(_ALWAYS) or name == "gpt-5":
        return True
    if name.startswith("gpt-5-"):
        return not name.startswith("gpt-5-chat")
    return bool(model.capabilities.reasoning) and effort is not None


def refuses_stop(model: Model) -> bool:
    """Whether the model knows no stop sequences."""
    return model.vendor_model.startswith(_NO_STOP)
