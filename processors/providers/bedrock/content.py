"""The parts of a turn as content blocks of Bedrock's Converse API."""

import base64
from typing import Any, Final

from processors.providers import json_text
from processors.providers.anthropic.content import ORIGIN as CLAUDE
from processors.providers.anthropic.content import arguments, hint_of, ours, vendor_block
from processors.providers.turns import Turn, results
from processors.providers.unsupported import Dropped
from schemas.records import ContentPart
from schemas.signals import Invalid

VENDOR_PART: Final = "vendor:bedrock"
ORIGIN: Final = "bedrock"
IMAGES: Final = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENTS: Final = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_SOUNDS: Final = {
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/opus": "opus",
    "audio/aac": "aac",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    "audio/mp4": "mp4",
    "audio/webm": "webm",
}
_CACHE: Final[dict[str, dict[str, str]]] = {
    "ephemeral": {"type": "default"},
    "ephemeral_5m": {"type": "default", "ttl": "5m"},
    "ephemeral_1h": {"type": "default", "ttl": "1h"},
}

Block = dict[str, Any]


class Blocks:
    """Encodes the turns of one request; `dropped` learns of hints that can't be told."""

    def __init__(self, claude: bool, dropped: Dropped) -> None:
        self._origins = (ORIGIN, CLAUDE) if claude else (ORIGIN,)
        self._dropped = dropped
        self._documents = 0
        self.calls_tools = False

    def messages(self, turns: list[Turn]) -> list[dict[str, Any]]:
        """The messages; a turn of which nothing can be sent is left out. Raises signals.Invalid."""
        out: list[dict[str, Any]] = []
        for turn in turns:
            content: list[Block] = []
            for group in results(turn.parts):
                block = self._tool_result(group) if group[0].type == "tool_result" else self._block(group[0])
                if block is not None:
                    content.append(block)
                self._mark(hint_of(group), block, content)
            if content:
                out.append({"role": turn.role, "content": content})
        return out

    def _mark(self, hint: str | None, block: Block | None, content: list[Block]) -> None:
        if hint is None:
            return
        point = _CACHE.get(hint)
        if point is None:
            self._dropped.note("content.cache", f"use one of {', '.join(_CACHE)}")
        elif block is None:
            self._dropped.note(
                "content.cache", "a part that isn't sent can't be marked: mark the part before"
            )
        else:
            content.append({"cachePoint": point})

    def _block(self, part: ContentPart) -> Block | None:
        """The block of a part; None for one that this vendor has no use for: another's thinking, an empty text."""
        match part.type:
            case "text":
                return {"text": part.text} if part.text else None
            case "image":
                return {"image": {"format": _format(part, IMAGES), "source": _source(part)}}
            case "document":
                return {"document": self._document(part)}
            case "audio":
                return {"audio": {"format": _format(part, _SOUNDS), "source": _source(part)}}
            case "tool_call":
                self.calls_tools = True
                call = {"toolUseId": part.tool_call_id or "", "name": part.tool_name or ""}
                return {"toolUse": {**call, "input": arguments(part)}}
            case "thinking":
                if not ours(part, *self._origins):
                    return None
                text = {"text": part.text or "", "signature": part.signature}
                return {"reasoningContent": {"reasoningText": text}}
            case "redacted_thinking":
                if not ours(part, *self._origins):
                    return None
                return {"reasoningContent": {"redactedContent": part.signature}}
            case _:
                return vendor_block(part, VENDOR_PART)

    def _tool_result(self, group: list[ContentPart]) -> Block:
        self.calls_tools = True
        content: list[Block] = []
        for part in group:
            if part.text:
                content.append({"text": part.text})
            if part.data is not None or part.uri is not None:
                image = (part.media_type or "").startswith("image/")
                media = ContentPart(
                    type="image" if image else "document",
                    data=part.data,
                    uri=part.uri,
                    media_type=part.media_type,
                )
                block = self._block(media)
                assert block is not None, "media are always sent"
                content.append(block)
        result: Block = {"toolUseId": group[0].tool_call_id or "", "content": content or [{"text": ""}]}
        if any(part.is_error for part in group):
            result["status"] = "error"
        return {"toolResult": result}

    def _document(self, part: ContentPart) -> Block:
        # The vendor wants a name, warns that the model reads it, and refuses the same name twice.
        self._documents += 1
        name = f"document-{self._documents}"
        if part.data is None and part.uri is None:
            if part.text is None:
                raise Invalid("invalid_request", "a document part needs uri, data or text")
            return {"format": "txt", "name": name, "source": {"bytes": _base64(part.text.encode())}}
        return {"format": _format(part, _DOCUMENTS), "name": name, "source": _source(part)}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _format(part: ContentPart, known: dict[str, str]) -> str:
    found = known.get(part.media_type or "")
    if found is None:
        told = f"media_type {part.media_type!r} of a part of type {part.type}"
        raise Invalid("invalid_request", f"{told}: this provider takes {', '.join(sorted(known))}")
    return found


def _source(part: ContentPart) -> Block:
    if part.data is not None:
        return {"bytes": _base64(part.data)}
    if part.uri is not None and part.uri.startswith("s3://"):
        return {"s3Location": {"uri": part.uri}}
    text = f"a part of type {part.type} needs data, or a uri that begins with s3://"
    raise Invalid("invalid_request", f"{text}: this provider fetches nothing else")


def tool_schema(schema: str, name: str) -> dict[str, Any]:
    """The schema of a tool's arguments; the vendor wants it to say that it is an object's."""
    return {"type": "object", **json_text.read_object(schema, f"tools.{name}.input_schema")}
