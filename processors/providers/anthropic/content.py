"""The parts of a turn as content blocks of Anthropic's Messages API."""

import base64
from typing import Any, Final

from processors.providers import json_text
from processors.providers.turns import Turn, results
from processors.providers.unsupported import Dropped
from schemas.records import ContentPart
from schemas.signals import Invalid

VENDOR_PART: Final = "vendor:anthropic"
# The id of thinking parts: by it the vendor's own are told from others', whose signatures mean nothing here.
ORIGIN: Final = "anthropic"
IMAGES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
# The vendor takes four marks of a cacheable prefix; the last ones are worth most.
_MOST_MARKS: Final = 4
_LIVES: Final[dict[str, dict[str, str]]] = {
    "ephemeral": {"type": "ephemeral"},
    "ephemeral_5m": {"type": "ephemeral", "ttl": "5m"},
    "ephemeral_1h": {"type": "ephemeral", "ttl": "1h"},
}

_UNMARKED: Final = frozenset({"thinking", "redacted_thinking", VENDOR_PART})

Block = dict[str, Any]


class Blocks:
    """Encodes turns; `dropped` learns of hints that can't be told."""

    def __init__(self, dropped: Dropped) -> None:
        self._dropped = dropped
        self._marked: list[Block] = []

    def messages(self, turns: list[Turn]) -> list[dict[str, Any]]:
        """The messages; a turn of which nothing can be sent is left out. Raises signals.Invalid."""
        out = []
        for turn in turns:
            groups = results(turn.parts)
            content = [block for group in groups if (block := self._block(group)) is not None]
            if content:
                out.append({"role": turn.role, "content": content})
        self._limit_marks()
        return out

    def _block(self, group: list[ContentPart]) -> Block | None:
        block = _tool_result(group) if group[0].type == "tool_result" else _encoded(group[0])
        hint = hint_of(group)
        if hint is None:
            return block
        life = _LIVES.get(hint)
        if life is None:
            self._dropped.note("content.cache", f"use one of {', '.join(_LIVES)}")
        elif block is None or group[0].type in _UNMARKED:
            why = "reasoning, a vendor's own blocks and empty texts can't be marked: mark the part before"
            self._dropped.note("content.cache", why)
        else:
            block["cache_control"] = life
            self._marked.append(block)
        return block

    def _limit_marks(self) -> None:
        for block in self._marked[:-_MOST_MARKS]:
            self._dropped.note("content.cache", f"this vendor takes {_MOST_MARKS} cache hints a request")
            del block["cache_control"]


def _encoded(part: ContentPart) -> Block | None:
    """The block of a part; None for one that this vendor has no use for: another's thinking, an empty text."""
    match part.type:
        case "text":
            return {"type": "text", "text": part.text} if part.text else None
        case "image":
            return {"type": "image", "source": _image(part)}
        case "document":
            return {"type": "document", "source": _document(part)}
        case "tool_call":
            return {
                "type": "tool_use",
                "id": part.tool_call_id or "",
                "name": part.tool_name or "",
                "input": arguments(part),
            }
        case "thinking":
            if not ours(part, ORIGIN):
                return None
            return {"type": "thinking", "thinking": part.text or "", "signature": part.signature}
        case "redacted_thinking":
            return {"type": "redacted_thinking", "data": part.signature} if ours(part, ORIGIN) else None
        case _:
            return vendor_block(part, VENDOR_PART)


def hint_of(group: list[ContentPart]) -> str | None:
    """The cache hint of a group of parts that are sent as one: the last one's that has any."""
    return next((part.cache for part in reversed(group) if part.cache is not None), None)


def ours(part: ContentPart, *origins: str) -> bool:
    """Whether thinking can go back: signed, and by no other vendor, which this one would refuse."""
    return bool(part.signature) and (part.id is None or part.id in origins)


def arguments(part: ContentPart) -> dict[str, Any]:
    """The arguments of a tool call. Raises signals.Invalid where they are no object."""
    return json_text.read_object(part.arguments or "{}", f"the arguments of tool call {part.tool_name!r}")


def vendor_block(part: ContentPart, own: str) -> Block | None:
    """A block that only its vendor knows: ours goes back unchanged, another's is left out."""
    if part.type == own:
        return json_text.read_object(part.text or "", f"the text of a {own} part")
    if part.type.startswith("vendor:"):
        return None
    raise Invalid("invalid_request", f"a part of type {part.type!r} can't be sent to this provider")


def _image(part: ContentPart) -> Block:
    if part.uri is not None and part.data is None:
        return {"type": "url", "url": part.uri}
    if part.data is None:
        raise Invalid("invalid_request", "an image part needs uri or data")
    if part.media_type not in IMAGES:
        told = f"media_type {part.media_type!r} of an image"
        raise Invalid("invalid_request", f"{told}: this provider takes {', '.join(sorted(IMAGES))}")
    return {"type": "base64", "media_type": part.media_type, "data": base64.b64encode(part.data).decode()}


def _document(part: ContentPart) -> Block:
    if part.data is None and part.uri is not None:
        return {"type": "url", "url": part.uri}
    if part.data is None and part.text is None:
        raise Invalid("invalid_request", "a document part needs uri, data or text")
    if part.data is not None and part.media_type == "application/pdf":
        data = base64.b64encode(part.data).decode()
        return {"type": "base64", "media_type": "application/pdf", "data": data}
    return {"type": "text", "media_type": "text/plain", "data": plain_text(part)}


def plain_text(part: ContentPart) -> str:
    """The text of a document that is one. Raises signals.Invalid for any other."""
    if part.data is None:
        return part.text or ""
    if not (part.media_type or "").startswith("text/"):
        told = f"media_type {part.media_type!r} of a document"
        raise Invalid("invalid_request", f"{told}: this provider takes application/pdf and text/*")
    try:
        return part.data.decode()
    except UnicodeDecodeError as error:
        raise Invalid("invalid_request", f"a document of {part.media_type} is not UTF-8: {error}") from error


def _tool_result(group: list[ContentPart]) -> Block:
    """One result of one call: a text, or several blocks where it has more than that."""
    block: Block = {"type": "tool_result", "tool_use_id": group[0].tool_call_id or ""}
    if any(part.is_error for part in group):
        block["is_error"] = True
    content: list[Block] = []
    for part in group:
        if part.text:
            content.append({"type": "text", "text": part.text})
        if part.data is not None or part.uri is not None:
            content.append(_media(part))
    if len(content) == 1 and content[0]["type"] == "text":
        block["content"] = content[0]["text"]
    elif content:
        block["content"] = content
    return block


def _media(part: ContentPart) -> Block:
    if (part.media_type or "").startswith("image/"):
        return {"type": "image", "source": _image(part)}
    bare = ContentPart(type="document", data=part.data, uri=part.uri, media_type=part.media_type)
    return {"type": "document", "source": _document(bare)}
