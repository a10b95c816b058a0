"""The seam for budgets, and the bound on a request's input that an attempt reserves."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from schemas.records import Problem, RequestEvent


@dataclass(frozen=True, slots=True)
class Hold:
    """What is held for one attempt. `worst_case` is in US dollars; None where the model has no price."""

    tenant: str
    request_id: str
    attempt: int
    model: str
    worst_case: Decimal | None


class Budget(Protocol):
    def reserve(self, hold: Hold) -> Problem | None:
        """Hold the worst case of an attempt before its call is issued, or say why not."""
        ...

    def settle(self, hold: Hold, cost: Decimal | None, correction: bool) -> None:
        """Replace the hold by the cost; a correction replaces an earlier settlement at worst case."""
        ...


class Unlimited:
    """Reserves whatever is asked."""

    def reserve(self, hold: Hold) -> Problem | None:
        return None

    def settle(self, hold: Hold, cost: Decimal | None, correction: bool) -> None:
        return None


def input_bound(request: RequestEvent, estimate: int, context_window: int) -> int:
    """The most input tokens a request can cost.

    A token is at least one byte, so bytes bound tokens; content by reference has an unknown size, and then
    only the context window bounds it.
    """
    size = _size(request.prompt) + _size(request.system)
    if request.response_format is not None:
        size += _size(request.response_format.json_schema)
    for tool in request.tools:
        size += _size(tool.name) + _size(tool.description) + _size(tool.input_schema)
    parts = list(request.content)
    for message in request.messages:
        parts += message.content
    for part in parts:
        if part.uri is not None:
            return context_window
        size += _size(part.text) + _size(part.arguments) + len(part.data or b"")
    overhead = 16 * (len(request.messages) + len(request.tools) + 1)
    return min(context_window, max(estimate, size + overhead))


def _size(text: str | None) -> int:
    if not text:
        return 0
    return len(text) if text.isascii() else len(text.encode())
