"""The content blocks of a Converse answer as they come, and the parts that they become."""

import base64
from typing import Any, Final, Literal

import msgspec
import orjson

from processors.providers.base import Delta
from processors.providers.bedrock.content import IMAGES, ORIGIN, VENDOR_PART
from processors.providers.bedrock.wire import Piece, Reasoning, Started, ToolUse, content_decoder
from processors.providers.gather import LONGEST_ID, PART_BYTES, size_of
from schemas.records import ContentPart

_MEDIA_TYPES: Final = {name: media_type for media_type, name in IMAGES.items()}
_SERVER_TOOL: Final = "server_tool_use"
_Kind = Literal["text", "thinking", "redacted_thinking", "tool_call", "image", "vendor"]


class _Open:
    """A block as it grows. `block` is what the vendor part will hold, where it is one."""

    __slots__ = ("block", "part", "pieces", "results")

    def __init__(self, part: ContentPart, block: dict[str, Any] | None = None) -> None:
        self.part, self.block = part, block
        self.pieces: list[str] = []
        self.results: list[Any] = []

    def closed(self) -> ContentPart:
        """The part, from its pieces. Raises ValueError or TypeError where they don't fit together."""
        part = self.part
        match part.type:
            case "tool_call":
                part.arguments = "".join(self.pieces) or "{}"
            case "redacted_thinking":
                part.signature = base64.b64encode(self._bytes()).decode()
            case "image":
                part.data = self._bytes()
            case "text" | "thinking":
                part.text = "".join(self.pieces)
            case _:
                part.text = self._vendor("".join(self.pieces))
        return part

    def _bytes(self) -> bytes:
        return b"".join(base64.b64decode(piece, validate=True) for piece in self.pieces)

    def _vendor(self, pieces: str) -> str:
        if self.block is None:
            return pieces
        for inner in self.block.values():
            if pieces:
                inner["input"] = orjson.loads(pieces)
            if self.results:
                inner["content"] = self.results
        return orjson.dumps(self.block).decode()


class Blocks:
    """Takes the blocks of one answer; `size` is about what the parts will take in an outcome.

    What a hostile answer makes it stumble over is a ValueError, a TypeError or an error of msgspec.
    """

    def __init__(self) -> None:
        self.size = 0
        self._open: dict[tuple[int, _Kind], _Open] = {}

    def parts(self) -> list[ContentPart]:
        """The parts, by the blocks' numbers."""
        ordered = sorted(self._open.items(), key=lambda item: item[0][0])
        return [block.closed() for _, block in ordered]

    def start(self, index: int, start: Started, deltas: list[Delta]) -> None:
        """A block that is announced; texts and reasoning aren't. The delta shows that the model is at work."""
        if start.toolUse is not None:
            self._tool(index, start.toolUse)
            deltas.append(Delta("thinking" if start.toolUse.type == _SERVER_TOOL else "tool_call", ""))
        elif start.image is not None:
            part = ContentPart(type="image", media_type=_MEDIA_TYPES.get(start.image.format or ""))
            self._add(index, "image", _Open(part))
        elif start.toolResult != msgspec.Raw(b"null"):
            result = orjson.loads(bytes(start.toolResult))
            if not isinstance(result, dict):
                raise ValueError("a tool result is no object")
            self._add(index, "vendor", _Open(ContentPart(type=VENDOR_PART), {"toolResult": result}))
            self.size += len(bytes(start.toolResult))

    def grow(self, index: int, piece: Piece, deltas: list[Delta]) -> None:
        """A delta of a block."""
        if piece.text:
            self._piece(index, "text", piece.text)
            deltas.append(Delta("text", piece.text))
        elif piece.toolUse is not None and piece.toolUse.input:
            vendor = (index, "vendor") in self._open
            self._piece(index, "vendor" if vendor else "tool_call", piece.toolUse.input)
            if not vendor:
                deltas.append(Delta("tool_call", piece.toolUse.input, index))
        elif piece.reasoningContent is not None:
            self._reasoning(index, piece.reasoningContent, deltas)
        elif piece.image is not None and piece.image.source is not None and piece.image.source.bytes:
            self._piece(index, "image", piece.image.source.bytes)
        elif piece.toolResult is not None:
            block = self._at(index, "vendor")
            block.results += [orjson.loads(bytes(raw)) for raw in piece.toolResult]
            self.size += sum(len(bytes(raw)) for raw in piece.toolResult)

    def whole(self, index: int, raw: msgspec.Raw) -> None:
        """A block of an answer that wasn't streamed."""
        seen = content_decoder.decode(raw)
        if seen.text is not None:
            self._piece(index, "text", seen.text)
        elif seen.citationsContent is not None:
            cited = seen.citationsContent.content or []
            self._piece(index, "text", "".join(piece.text or "" for piece in cited))
        elif seen.reasoningContent is not None:
            self._reasoning(index, seen.reasoningContent, [])
        elif seen.toolUse is not None and seen.toolUse.type != _SERVER_TOOL:
            self._tool(index, seen.toolUse)
            self._piece(index, "tool_call", bytes(seen.toolUse.input).decode())
        elif seen.image is not None and seen.image.source is not None:
            part = ContentPart(type="image", media_type=_MEDIA_TYPES.get(seen.image.format or ""))
            self._add(index, "image", _Open(part))
            self._piece(index, "image", seen.image.source.bytes or "")
        else:
            self._piece(index, "vendor", bytes(raw).decode())

    def _tool(self, index: int, tool: ToolUse) -> None:
        name, call_id = (tool.name or "")[:LONGEST_ID], (tool.toolUseId or "")[:LONGEST_ID]
        self.size += size_of(name) + size_of(call_id)
        if tool.type == _SERVER_TOOL:
            block = {"toolUse": {"toolUseId": call_id, "name": name, "type": tool.type, "input": {}}}
            self._add(index, "vendor", _Open(ContentPart(type=VENDOR_PART), block))
            self.size += len(orjson.dumps(block))
        else:
            part = ContentPart(type="tool_call", tool_call_id=call_id, tool_name=name)
            self._add(index, "tool_call", _Open(part))

    def _reasoning(self, index: int, piece: Reasoning, deltas: list[Delta]) -> None:
        text, signature = piece.text, piece.signature
        if piece.reasoningText is not None:
            text, signature = piece.reasoningText.text, piece.reasoningText.signature
        if text:
            self._piece(index, "thinking", text)
            deltas.append(Delta("thinking", text))
        if signature:
            block = self._at(index, "thinking")
            block.part.signature = (block.part.signature or "") + signature
            self.size += size_of(signature)
        if piece.redactedContent:
            self._piece(index, "redacted_thinking", piece.redactedContent)

    def _piece(self, index: int, kind: _Kind, text: str) -> None:
        self._at(index, kind).pieces.append(text)
        self.size += size_of(text)

    def _at(self, index: int, kind: _Kind) -> _Open:
        block = self._open.get((index, kind))
        if block is None:
            part = ContentPart(type=VENDOR_PART if kind == "vendor" else kind)
            if kind in ("thinking", "redacted_thinking"):
                part.id = ORIGIN
                self.size += len(ORIGIN)
            block = self._add(index, kind, _Open(part))
        return block

    def _add(self, index: int, kind: _Kind, block: _Open) -> _Open:
        self._open[index, kind] = block
        self.size += PART_BYTES
        return block
