"""A conversation in the order that vendors want.

As turns, for those that know but `user` and `assistant` and want them to alternate; as messages, with those of tools
for themselves.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from processors.providers.encoding import conversation
from processors.providers.unsupported import Dropped
from schemas.records import ContentPart, Message, RequestEvent
from schemas.signals import Invalid

Role = Literal["user", "assistant"]
_ROLES: dict[str, Role] = {"user": "user", "tool": "user", "assistant": "assistant"}


@dataclass(slots=True)
class Turn:
    """What one side says before the other does."""

    role: Role
    parts: list[ContentPart]


def turns(request: RequestEvent, dropped: Dropped) -> list[Turn]:
    """The messages, neighbours of one role joined; tool results are the user's. Raises signals.Invalid.

    Tool results come first in their turn, as vendors want them directly behind the calls.
    """
    nameless(request, dropped)
    out: list[Turn] = []
    for message in conversation(request):
        role = _ROLES.get(message.role)
        if role is None:
            raise Invalid("invalid_request", f"messages: the role {message.role!r} can't be sent")
        _add(out, role, message.content)
    for turn in out:
        if turn.role == "user" and "tool_result" in [part.type for part in turn.parts]:
            turn.parts = sorted(turn.parts, key=lambda part: part.type != "tool_result")
    return out


def _add(out: list[Turn], role: Role, parts: list[ContentPart]) -> None:
    if out and out[-1].role == role:
        out[-1].parts = out[-1].parts + parts
    else:
        out.append(Turn(role, parts))


def results(parts: list[ContentPart]) -> list[list[ContentPart]]:
    """The parts in groups: neighbouring tool results of one call are one group, every other part is its own.

    A tool that gives a text and an image is told as two such parts.
    """
    out: list[list[ContentPart]] = []
    for part in parts:
        last = out[-1][-1] if out else None
        same = last is not None and last.type == part.type == "tool_result"
        if same and last is not None and last.tool_call_id == part.tool_call_id:
            out[-1].append(part)
        else:
            out.append([part])
    return out


def messages(
    request: RequestEvent,
    *,
    result: Callable[[list[ContentPart]], dict[str, Any]],
    assistant: Callable[[Message], dict[str, Any]],
    content: Callable[[list[ContentPart]], Any],
) -> list[dict[str, Any]]:
    """The system prompt and every message: `result` makes one of the result of a call, `assistant` one of an answer,
    `content` what the user says.
    """
    out: list[dict[str, Any]] = []
    if request.system:
        out.append({"role": "system", "content": request.system})
    for message in conversation(request):
        answers = [part for part in message.content if part.type == "tool_result"]
        out.extend(result(group) for group in results(answers))
        if message.role == "assistant":
            out.append(assistant(message))
        elif len(answers) < len(message.content) or not answers:
            out.append({"role": "user", "content": content(message.content)})
    return out


def nameless(request: RequestEvent, dropped: Dropped) -> None:
    """Report the names of speakers, to a vendor that knows none. Raises signals.Invalid under `reject`."""
    if any(message.name for message in request.messages):
        dropped.note("messages.name", "this vendor knows no names of speakers")
