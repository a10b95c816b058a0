"""A conversation as turns, for vendors that know but `user` and `assistant` and want them to alternate."""

from dataclasses import dataclass
from typing import Literal

from processors.providers.encoding import conversation
from processors.providers.unsupported import Dropped
from schemas.records import ContentPart, RequestEvent
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
    out: list[Turn] = []
    for message in conversation(request):
        role = _ROLES.get(message.role)
        if role is None:
            raise Invalid("invalid_request", f"messages: the role {message.role!r} can't be sent")
        if message.name:
            dropped.note("messages.name", "this vendor knows no names of speakers")
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
