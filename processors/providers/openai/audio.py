"""The spoken answer of an OpenAI model, gathered from its pieces."""

import base64
import binascii
from typing import Final

from processors.providers.failures import failure
from processors.providers.gather import LONGEST_ID, size_of
from processors.providers.openai.wire import Audio
from schemas.records import ContentPart

_MAGIC: Final = ((b"RIFF", "audio/wav"), (b"ID3", "audio/mpeg"), (b"\xff\xfb", "audio/mpeg"), (b"OggS", "audio/ogg"),
                 (b"fLaC", "audio/flac"))  # fmt: skip


class Sound:
    """A spoken answer as it grows."""

    __slots__ = ("_data", "_id", "_transcript")

    def __init__(self) -> None:
        self._data: list[bytes] = []
        self._id: str | None = None
        self._transcript: list[str] = []

    def add(self, audio: Audio) -> int:
        """Take a piece; returns by how many bytes the part grew. Raises ProviderFailure."""
        grew = 0
        if audio.id and self._id is None:
            self._id = audio.id[:LONGEST_ID]
            grew += size_of(self._id)
        if audio.data:
            try:
                self._data.append(base64.b64decode(audio.data, validate=True))
            except (binascii.Error, ValueError) as error:
                raise failure("provider_error", f"the stream's audio is not base64: {error}") from error
            grew += len(self._data[-1])
        if audio.transcript:
            self._transcript.append(audio.transcript)
            grew += size_of(audio.transcript)
        return grew

    def part(self, streamed: bool) -> ContentPart:
        """The part; streamed audio is always PCM, whole audio tells its format by its first bytes."""
        data = b"".join(self._data)
        found = next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)
        media_type = "audio/pcm" if streamed else found
        return ContentPart(
            type="audio", data=data, media_type=media_type, id=self._id, text="".join(self._transcript)
        )
