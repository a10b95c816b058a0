"""How many bytes of a request a model would read: what bounds its tokens."""

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
    """The size of a request: of every text that may reach a model, and of the data that its parts carry.

    Vendor parameters are among the texts: a provider may read any of them as input.
    """
    text = size_of(event.prompt) + size_of(event.system)
    for tool in event.tools:
        text += size_of(tool.name) + size_of(tool.description) + size_of(tool.input_schema)
    if event.parameters is not None and event.parameters.extra:
        text += sum(size_of(key) + size_of(value) for key, value in event.parameters.extra.items())
    if event.response_format is not None:
        text += size_of(event.response_format.name) + size_of(event.response_format.json_schema)
    parts = list(event.content)
    for message in event.messages:
        text += size_of(message.name)
        parts += message.content
    data = media = 0
    by_reference = False
    for part in parts:
        text += _text_of(part)
        if part.data is not None or part.uri is not None:
            media += 1
            data += len(part.data or b"")
            by_reference = by_reference or part.uri is not None
    return RequestSize(text, data, media, by_reference)


def _text_of(part: ContentPart) -> int:
    total = size_of(part.text)
    for rare in (
        part.arguments,
        part.tool_call_id,
        part.tool_name,
        part.uri,
        part.media_type,
        part.signature,
    ):
        if rare:
            total += size_of(rare)
    return total


def size_of(text: str | None) -> int:
    """The bytes of a text, UTF-8."""
    if not text:
        return 0
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
