"""A conversation as Google's `contents`: two roles, and results that stand directly behind the calls they answer.

Function calls may go without ids. A result is then found by its name and its place among the results, so they are
sent in the order of the calls. Signatures go back on the parts that they came with.
"""

import base64
import mimetypes
from typing import Any, Final

from processors.providers import json_text
from processors.providers.gemini.models import NO_SIGNATURE, needs_signatures
from processors.providers.turns import results, turns
from processors.providers.unsupported import Dropped
from schemas.records import ContentPart, RequestEvent
from schemas.signals import Invalid

# The `id` of our reasoning parts, and the type of parts that only Google knows.
ORIGIN: Final = "gemini"
VENDOR_PART: Final = "vendor:gemini"
# Ids that the decoder made for calls without one begin so; they are never sent.
MADE_ID: Final = "gemini-"
_MEDIA: Final = frozenset({"image", "document", "audio"})
_OTHERS_ALONE: Final = frozenset({"redacted_thinking"})


def contents(
    request: RequestEvent, vendor_model: str, dropped: Dropped, *, ids: bool
) -> list[dict[str, Any]]:
    """The conversation. `ids`: the API knows ids of function calls. Raises signals.Invalid."""
    out: list[dict[str, Any]] = []
    order: dict[str, int] = {}
    names: dict[str, str] = {}
    for turn in turns(request, dropped):
        calls = [part for part in turn.parts if part.type == "tool_call"]
        if calls:
            order = {part.tool_call_id or "": place for place, part in enumerate(calls)}
            names.update({part.tool_call_id or "": part.tool_name or "" for part in calls})
        answers = [part for part in turn.parts if part.type == "tool_result"]
        if answers:
            answers.sort(key=lambda part: order.get(part.tool_call_id or "", len(order)))
            parts = [_response(group, names, ids) for group in results(answers)]
            out.append({"role": "user", "parts": parts})
        rest = [
            sent
            for part in turn.parts
            if part.type != "tool_result" and (sent := _part(part, ids)) is not None
        ]
        if rest:
            out.append({"role": "model" if turn.role == "assistant" else "user", "parts": rest})
    if not out:
        raise Invalid("invalid_request", "messages: nothing in them can be sent to this provider")
    if needs_signatures(vendor_model):
        _stand_in(out)
    return out


def _part(part: ContentPart, ids: bool) -> dict[str, Any] | None:
    """A part as Google's; None for what isn't sent: others' reasoning, others' own parts, empty texts."""
    if part.type == "text":
        return _signed({"text": part.text or ""}, part) if part.text or part.signature else None
    if part.type in _MEDIA:
        return _signed(_media(part), part)
    if part.type == "tool_call":
        return _signed({"functionCall": _call(part, ids)}, part)
    if part.type == "thinking":
        # A summary goes back for its signature alone, and only to whom gave it.
        ours = part.id == ORIGIN and part.signature
        return _signed({"text": part.text or "", "thought": True}, part) if ours else None
    if part.type == VENDOR_PART:
        return json_text.read_object(part.text or "", f"a part of type {VENDOR_PART}")
    if part.type in _OTHERS_ALONE or part.type.startswith("vendor:"):
        return None
    raise Invalid("invalid_request", f"a part of type {part.type!r} can't be sent to this provider")


def _signed(sent: dict[str, Any], part: ContentPart) -> dict[str, Any]:
    if part.signature:
        sent["thoughtSignature"] = part.signature
    return sent


def _call(part: ContentPart, ids: bool) -> dict[str, Any]:
    place = f"the arguments of {part.tool_name or 'a tool call'}"
    arguments = json_text.read_object(part.arguments or "{}", place)
    return {**_id(part, ids), "name": part.tool_name or "", "args": arguments}


def _id(part: ContentPart, ids: bool) -> dict[str, str]:
    told = part.tool_call_id
    return {"id": told} if ids and told and not told.startswith(MADE_ID) else {}


def _response(group: list[ContentPart], names: dict[str, str], ids: bool) -> dict[str, Any]:
    """The result of one call: its texts as `output` (or `error`), its media beside them."""
    first = group[0]
    name = first.tool_name or names.get(first.tool_call_id or "")
    if not name:
        text = f"messages: the tool_result {first.tool_call_id!r} answers no tool_call: set its tool_name"
        raise Invalid("invalid_request", text)
    text = "\n".join(part.text for part in group if part.text is not None)
    kind = "error" if any(part.is_error for part in group) else "output"
    response: dict[str, Any] = {**_id(first, ids), "name": name, "response": {kind: _value(text)}}
    found = [_media(part) for part in group if part.data is not None or part.uri is not None]
    if found:
        response["parts"] = found
    return {"functionResponse": response}


def _value(text: str) -> Any:
    """What a tool said: the object or list that it is the JSON text of, else the text."""
    if text[:1] not in ("{", "["):
        return text
    try:
        return json_text.read(text, "a tool result")
    except Invalid:
        return text


def _media(part: ContentPart) -> dict[str, Any]:
    if part.data is None and part.uri is None:
        raise Invalid("invalid_request", f"a part of type {part.type} needs uri or data")
    media_type = part.media_type
    if media_type is None and part.uri is not None:
        media_type = mimetypes.guess_type(part.uri.partition("?")[0])[0]
    if media_type is None:
        raise Invalid("invalid_request", f"a part of type {part.type} needs media_type, such as image/png")
    if part.data is not None:
        data = base64.b64encode(part.data).decode()
        return {"inlineData": {"mimeType": media_type, "data": data}}
    return {"fileData": {"mimeType": media_type, "fileUri": part.uri}}


def _stand_in(sent: list[dict[str, Any]]) -> None:
    """Give the calls of the running turn, made by another model, the stand-in for the signature that they lack.

    The turn is what follows the last thing the user said himself; of parallel calls the first one is signed.
    """
    for content in reversed(sent):
        parts = content["parts"]
        if content["role"] == "user":
            if not all("functionResponse" in part for part in parts):
                return
            continue
        first = next((part for part in parts if "functionCall" in part), None)
        if first is not None:
            first.setdefault("thoughtSignature", NO_SIGNATURE)
