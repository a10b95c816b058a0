"""Gathers the parts of an answer as they arrive, keeps their order, and counts the bytes that they will take."""

from typing import Final, Literal

from schemas.records import ContentPart

# What a part takes in an outcome beside its texts.
PART_BYTES: Final = 40
LONGEST_ID: Final = 256


def size_of(text: str) -> int:
    """Bytes of a text as UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


class Gather:
    """Neighbouring pieces of one kind become one part, unless a signature stands between them.

    `size` is never much less than what the parts take in an outcome, so that it can be bounded while they arrive.
    """

    __slots__ = ("_part", "_pieces", "parts", "size")

    def __init__(self) -> None:
        self.parts: list[ContentPart] = []
        self.size = 0
        self._part: ContentPart | None = None
        self._pieces: list[str] = []

    def text(self, kind: Literal["text", "thinking"], text: str, origin: str | None = None) -> None:
        """A piece of text. `origin` becomes the part's `id`: by it a vendor knows its own reasoning again."""
        part = self._part
        if part is None or part.type != kind or part.id != origin:
            self.close()
            part = self._part = ContentPart(type=kind, id=origin)
            self.size += PART_BYTES if self.parts else 0  # the first is all text, as far as estimates go
        self._pieces.append(text)
        self.size += size_of(text)

    def sign(self, signature: str) -> None:
        """Sign the text part that is open, and end it: a signature covers what came since the one before."""
        if self._part is not None:
            self._part.signature = signature
            self.size += size_of(signature)
            self.close()

    def add(self, part: ContentPart) -> None:
        """A part that came whole."""
        self.close()
        self.parts.append(part)
        texts = (part.text, part.uri, part.media_type, part.arguments, part.signature, part.id)
        named = (part.tool_call_id, part.tool_name)
        self.size += PART_BYTES + sum(size_of(text) for text in (*texts, *named) if text)
        self.size += len(part.data) if part.data is not None else 0

    def close(self) -> None:
        """End the text part that is open."""
        part, self._part = self._part, None
        if part is not None:
            part.text = "".join(self._pieces)
            self._pieces.clear()
            self.parts.append(part)
