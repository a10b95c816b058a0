"""Whether a prompt fits the model's window at all: one that doesn't is refused before it is sent."""

from typing import Final, Protocol

from schemas.config import Model
from schemas.records import RequestEvent
from schemas.signals import Invalid

# What a message, a tool and the like add to the tokens of their texts.
_OVERHEAD: Final = 16


class CountTokens(Protocol):
    """Counts what a model would read of a request."""

    def __call__(self, model: Model, request: RequestEvent) -> int | None:
        """Tokens that the request has for certain; None where nothing can count for this model."""


def cannot_count(model: Model, request: RequestEvent) -> int | None:
    """Counts for no model."""
    return None


def check_window(request: RequestEvent, size: int, model: Model, count_tokens: CountTokens) -> None:
    """Raise Invalid `context_exceeded` where the prompt alone fills the window: the call would be in vain.

    `size`: bytes that the request's texts don't exceed. A token is at least one byte, so that most need no counting.
    """
    if size + _OVERHEAD * (len(request.messages) + len(request.tools) + 1) < model.context_window:
        return
    tokens = count_tokens(model, request)
    if tokens is not None and tokens >= model.context_window:
        message = f"the prompt has {tokens} tokens or more; the model's window holds {model.context_window}"
        raise Invalid("context_exceeded", message)
