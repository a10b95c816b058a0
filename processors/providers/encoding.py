"""What the encoders of several vendors share beside JSON: media, the vendor's own parameters, what can't be told."""

import base64
from collections.abc import Collection
from typing import Any, Final, Literal

from processors.providers import json_text
from processors.providers.unsupported import Dropped
from schemas.records import ContentPart, Message, Parameters, RequestEvent
from schemas.signals import Invalid

JSON_HEADERS: Final = {"content-type": "application/json"}


def media(part: ContentPart) -> str:
    """Where a media part's content is: its bytes as a data URL, else its URI. Raises signals.Invalid."""
    if part.data is not None:
        media_type = part.media_type or "application/octet-stream"
        return f"data:{media_type};base64,{base64.b64encode(part.data).decode()}"
    if part.uri is not None:
        return part.uri
    raise Invalid("invalid_request", f"a part of type {part.type} needs uri or data")


def extra(parameters: Parameters | None, reserved: Collection[str]) -> dict[str, Any]:
    """The vendor's own parameters, by name. Raises signals.Invalid where one is in `reserved`.

    Reserved is what Sluice itself decides: the content that was checked, the model, and what bounds the cost.
    """
    out: dict[str, Any] = {}
    for name, text in (parameters.extra if parameters is not None else {}).items():
        if name in reserved:
            text = f"parameters.extra.{name}: the request's own fields decide this"
            raise Invalid("invalid_request", text)
        out[name] = json_text.read(text, f"parameters.extra.{name}")
    return out


def conversation(request: RequestEvent) -> list[Message]:
    """The messages; what `prompt` and `content` stand for is the last one, the user's."""
    if request.prompt is None and not request.content:
        return request.messages
    text = [ContentPart(type="text", text=request.prompt)] if request.prompt is not None else []
    return [*request.messages, Message(role="user", content=text + request.content)]


def without(request: RequestEvent, dropped: Dropped, field: Literal["cache", "is_error"], why: str) -> None:
    """Report the field where a part has it: the wire has no place for it. Raises signals.Invalid under `reject`."""
    lists = [request.content, *(message.content for message in request.messages)]
    if any(getattr(part, field) for parts in lists for part in parts):
        dropped.note(f"content.{field}", why)


def always_strict(request: RequestEvent, dropped: Dropped) -> None:
    """Report that a schema was to be a hint alone, to a vendor that holds to each. Raises signals.Invalid."""
    wanted = request.response_format
    if wanted is not None and wanted.type == "json_schema" and wanted.strict is False:
        dropped.note("response_format.strict", "this vendor always holds to the schema")
