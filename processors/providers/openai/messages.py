"""The messages of a request in the form of OpenAI's Chat Completions, in one server's dialect."""

import base64
from typing import Any, Final

from processors.providers import encoding, json_text
from processors.providers.openai.presets import Dialect
from processors.providers.unsupported import Dropped
from schemas.records import ContentPart, Message, RequestEvent
from schemas.signals import Invalid

Json = dict[str, Any]
# Reasoning as OpenRouter told it, a JSON list.
OPENROUTER_PART: Final = "vendor:openrouter"
_SOUNDS: Final = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav"}
_THINKING: Final = frozenset({"thinking", "redacted_thinking"})
_OWN_FIELD: Final = frozenset({"tool_call", "tool_result"}) | _THINKING

_LIVES: Final[dict[str, Json]] = {
    "ephemeral": {"type": "ephemeral"},
    "ephemeral_5m": {"type": "ephemeral"},
    "ephemeral_1h": {"type": "ephemeral", "ttl": "1h"},
}


class Messages:
    """Encodes messages; `dropped` learns of what the dialect can't tell."""

    __slots__ = ("_dialect", "_dropped", "_images")

    def __init__(self, dialect: Dialect, dropped: Dropped) -> None:
        self._dialect, self._dropped = dialect, dropped
        # Of tool results: a tool's message takes text alone, so they follow in a message of the user.
        self._images: list[Json] = []

    def of(self, request: RequestEvent) -> list[Json]:
        """Every message. Raises signals.Invalid where a part can't be sent."""
        out: list[Json] = []
        if request.system:
            out.append({"role": "system", "content": request.system})
        for message in encoding.conversation(request):
            if self._dialect.cache == "cache_control":
                self._check_hints(message)
            self._message(message, out)
        self._flush(out)
        return out

    def _check_hints(self, message: Message) -> None:
        for part in message.content:
            if part.cache and part.cache not in _LIVES:
                self._dropped.note("content.cache", f"use one of {', '.join(_LIVES)}")
            elif part.cache and part.type != "text":
                self._dropped.note("content.cache", f"{self._dialect.name} marks texts alone: mark a text")

    def _message(self, message: Message, out: list[Json]) -> None:
        results = [part for part in message.content if part.type == "tool_result"]
        rest = (
            [part for part in message.content if part.type != "tool_result"] if results else message.content
        )
        for part in results:
            self._result(part, out)
        if rest or not results:
            self._turn(message.role, rest, message.name, out)

    def _result(self, part: ContentPart, out: list[Json]) -> None:
        """Neighbouring results of one call are one result."""
        last = out[-1] if out else None
        if last is not None and last.get("tool_call_id") == (part.tool_call_id or ""):
            last["content"] = "\n".join(text for text in (last["content"], part.text) if text)
        else:
            out.append({"role": "tool", "tool_call_id": part.tool_call_id or "", "content": part.text or ""})
        if part.data is not None or part.uri is not None:
            kind = "image" if (part.media_type or "").startswith("image/") else "document"
            shown = ContentPart(type=kind, data=part.data, uri=part.uri, media_type=part.media_type)
            self._images.append({"type": "text", "text": f"Result of the tool call {part.tool_call_id}:"})
            self._images.append(self._part(shown))

    def _flush(self, out: list[Json]) -> None:
        if self._images:
            out.append({"role": "user", "content": self._images})
            self._images = []

    def _turn(self, role: str, parts: list[ContentPart], name: str | None, out: list[Json]) -> None:
        self._flush(out)
        body: Json = {"role": "system" if role == "developer" and not self._dialect.developer else role}
        if name:
            self._name(body, name)
        if role == "assistant":
            self._assistant(body, parts)
        else:
            body["content"] = self._content(parts)
        out.append(body)

    def _name(self, body: Json, name: str) -> None:
        if self._dialect.names:
            body["name"] = name
        else:
            self._dropped.note("messages.name", f"{self._dialect.name} knows no names of speakers")

    def _assistant(self, body: Json, parts: list[ContentPart]) -> None:
        calls = [_call(part) for part in parts if part.type == "tool_call"]
        said = [part for part in parts if part.type not in _OWN_FIELD]
        spoken = next((part for part in said if part.type == "audio" and part.id), None)
        if spoken is not None:  # the vendor has its own words
            body["audio"] = {"id": spoken.id}
            said = [part for part in said if part.type != "audio"]
        content = self._content(said) if said else ""
        body["content"] = content if content or not (calls or spoken) else None
        if calls:
            body["tool_calls"] = calls
        self._thinking(body, parts, bool(calls))

    def _thinking(self, body: Json, parts: list[ContentPart], calls: bool) -> None:
        dialect = self._dialect
        if dialect.reasoning_details:
            for part in parts:
                if part.type == OPENROUTER_PART:
                    body["reasoning_details"] = json_text.read(
                        part.text or "[]", f"the text of a {part.type} part"
                    )
        elif dialect.thinking is not None and (calls or not dialect.thinking_with_tools):
            text = "".join(part.text or "" for part in parts if part.type == "thinking")
            if text:
                body[dialect.thinking] = text

    def _content(self, parts: list[ContentPart]) -> str | list[Json]:
        """A text alone is a string, which every server understands."""
        sent = [part for part in parts if part.type not in _THINKING and not part.type.startswith("vendor:")]
        hinted = self._dialect.cache == "cache_control" and any(part.cache for part in sent)
        if not sent:
            return ""
        if len(sent) == 1 and sent[0].type == "text" and not hinted:
            return sent[0].text or ""
        return [self._part(part) for part in sent]

    def _part(self, part: ContentPart) -> Json:
        kind = part.type
        if kind == "text":
            body: Json = {"type": "text", "text": part.text or ""}
            if self._dialect.cache == "cache_control" and part.cache in _LIVES:
                body["cache_control"] = _LIVES[part.cache]
            return body
        if kind not in ("image", "document", "audio"):
            raise Invalid("invalid_request", f"a part of type {kind!r} can't be sent to this provider")
        if kind not in self._dialect.media:
            raise Invalid("invalid_request", f"{self._dialect.name} takes no part of type {kind!r}")
        if kind == "image":
            return {"type": "image_url", "image_url": {"url": encoding.media(part)}}
        if part.data is None:
            raise Invalid("invalid_request", f"a part of type {kind!r} needs data for this provider")
        return _document(part) if kind == "document" else _sound(part.data, part.media_type)


def _document(part: ContentPart) -> Json:
    return {"type": "file", "file": {"filename": "document", "file_data": encoding.media(part)}}


def _sound(data: bytes, media_type: str | None) -> Json:
    name = (media_type or "audio/wav").rpartition("/")[2]
    sound = {"data": base64.b64encode(data).decode(), "format": _SOUNDS.get(name, name)}
    return {"type": "input_audio", "input_audio": sound}


def _call(part: ContentPart) -> Json:
    function = {"name": part.tool_name or "", "arguments": part.arguments or "{}"}
    return {"id": part.tool_call_id or "", "type": "function", "function": function}
