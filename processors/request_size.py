"""How many bytes of a request a model would read: what bounds its tokens."""

from collections.abc import Iterator
from typing import NamedTuple

from schemas.records import ContentPart, RequestEvent


class RequestSize(NamedTuple):
    """Bytes of texts (UTF-8) and of data, and how many parts are media (of data or by reference)."""

    text: int
    data: int
    media: int
    by_reference: bool

    @property
    def content(self) -> int:
        """Bytes of all that a model would read."""
        return self.text + self.data


def measured(event: RequestEvent) -> RequestSize:
    """The size of a request: of every text that may reach a model, and of the data that its parts carry."""
    data = media = 0
    by_reference = False
    for part in parts_of(event):
        if part.data is not None or part.uri is not None:
            media += 1
            data += len(part.data or b"")
            by_reference = by_reference or part.uri is not None
    return RequestSize(sum(map(size_of, texts_of(event))), data, media, by_reference)


def parts_of(event: RequestEvent) -> Iterator[ContentPart]:
    """The parts of a request, of all its messages."""
    yield from event.content
    for message in event.messages:
        yield from message.content


def texts_of(event: RequestEvent) -> Iterator[str]:
    """Every text of a request that may reach a model, those that are there.

    Vendor parameters are among them: a provider may read any of them as input.
    """
    yield from filter(None, (event.prompt, event.system))
    for tool in event.tools:
        yield from filter(None, (tool.name, tool.description, tool.input_schema))
    if event.parameters is not None and event.parameters.extra:
        for key, value in event.parameters.extra.items():
            yield from (key, value)
    if event.response_format is not None:
        yield from filter(None, (event.response_format.name, event.response_format.json_schema))
    for message in event.messages:
        if message.name:
            yield message.name
    for part in parts_of(event):
        if part.text:
            yield part.text
        rare = (part.arguments, part.tool_call_id, part.tool_name, part.uri, part.media_type, part.signature)
        if any(rare):
            yield from filter(None, rare)


def size_of(text: str | None) -> int:
    """The bytes of a text, UTF-8."""
    if not text:
        return 0
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
