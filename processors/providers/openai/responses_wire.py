"""The part of an answer of OpenAI's Responses API that Sluice reads, and its items as content parts."""

from typing import Final

import msgspec
from msgspec import UNSET

from processors.providers.gather import LONGEST_ID
from processors.providers.openai.wire import Optional
from schemas.records import ContentPart

# An item that only this API knows (hosted tools, compaction), its JSON in `text`.
VENDOR_PART: Final = "vendor:openai"
PHASES: Final = frozenset({"commentary", "final_answer"})


class Event(msgspec.Struct, gc=False):
    """An event of a stream; which fields are set depends on its type. `code` and `message` are of errors."""

    type: str = ""
    delta: str | None = None
    item_id: str | None = None
    output_index: int | None = None
    item: Optional = UNSET
    response: Optional = UNSET
    error: Optional = UNSET
    code: str | int | None = None
    message: str | None = None


class _Reason(msgspec.Struct, gc=False):
    reason: str | None = None


class Response(msgspec.Struct, gc=False):
    """A response, as far as it is known when it is told."""

    id: str | None = None
    model: str | None = None
    status: str | None = None
    error: Optional = UNSET
    incomplete_details: _Reason | None = None
    output: list[msgspec.Raw] | None = None
    usage: Optional = UNSET
    service_tier: Optional = UNSET


class Item(msgspec.Struct, gc=False):
    """What every item has."""

    type: str = ""
    id: str | None = None


class _Text(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    refusal: str | None = None


class _Message(msgspec.Struct, gc=False):
    content: list[_Text] | None = None
    phase: str | None = None


class _Reasoning(msgspec.Struct, gc=False):
    summary: list[_Text] | None = None
    content: list[_Text] | None = None
    encrypted_content: str | None = None


class _Call(msgspec.Struct, gc=False):
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


event_decoder = msgspec.json.Decoder(Event)
response_decoder = msgspec.json.Decoder(Response)
item_decoder = msgspec.json.Decoder(Item)
_message_decoder = msgspec.json.Decoder(_Message)
_reasoning_decoder = msgspec.json.Decoder(_Reasoning)
_call_decoder = msgspec.json.Decoder(_Call)


def parts_of(item: Item, raw: bytes) -> tuple[list[ContentPart], bool]:
    """The parts of an item that is whole, and whether it refuses."""
    match item.type:
        case "message":
            return _said(item, _message_decoder.decode(raw))
        case "reasoning":
            return _thought(item, _reasoning_decoder.decode(raw)), False
        case "function_call":
            call = _call_decoder.decode(raw)
            part = ContentPart(
                type="tool_call",
                tool_call_id=(call.call_id or item.id or "")[:LONGEST_ID],
                tool_name=(call.name or "")[:LONGEST_ID],
                arguments=call.arguments or "{}",
            )
            return [part], False
        case _:
            return [ContentPart(type=VENDOR_PART, text=raw.decode())], False


def _said(item: Item, message: _Message) -> tuple[list[ContentPart], bool]:
    """Texts; the phase that the vendor wants back stands in the id, `phase/id`."""
    mark = f"{message.phase}/{item.id or ''}" if message.phase in PHASES else None
    texts = [piece.refusal if piece.type == "refusal" else piece.text for piece in message.content or ()]
    refused = any(piece.type == "refusal" for piece in message.content or ())
    return [ContentPart(type="text", text=text, id=mark) for text in texts if text], refused


def _thought(item: Item, reasoning: _Reasoning) -> list[ContentPart]:
    """One part a summary, all with the item's id; what is encrypted is the signature of the last one.

    Without a summary, the reasoning itself, which servers of open models tell.
    """
    pieces = reasoning.summary or reasoning.content or ()
    parts = [ContentPart(type="thinking", text=piece.text or "", id=item.id) for piece in pieces]
    if reasoning.encrypted_content:
        if not parts:
            parts.append(ContentPart(type="thinking", text="", id=item.id))
        parts[-1].signature = reasoning.encrypted_content
    return parts
