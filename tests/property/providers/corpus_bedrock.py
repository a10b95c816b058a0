"""What the fuzz throws at Bedrock's decoders."""

from processors.providers.base import Completion, Delta
from processors.providers.bedrock.adapter import BedrockDecoder
from processors.providers.bedrock.embeddings import decode_embeddings, decode_rerank
from processors.providers.bedrock.wire import error_of
from tests.fuzz_providers import Case, fixtures
from tests.unit.providers.bedrock.shapes import frame, stream


class Framed:
    """Puts broken events into sound frames: in broken frames the checksums would hide them from the decoder."""

    def __init__(self) -> None:
        self._decoder = BedrockDecoder()
        self._data = b""

    def feed(self, data: bytes) -> list[Delta]:
        self._data += data
        return []

    def finish(self) -> Completion:
        for line in self._data.splitlines():
            name, _, payload = line.partition(b" ")
            self._decoder.feed(frame(name[:200].decode(errors="replace"), payload))
        return self._decoder.finish()


CASES = [
    Case("bedrock-events", fixtures("bedrock", "*.events"), make=Framed),
    Case(
        "bedrock-frames",
        [stream(name) for name in ("text", "reasoning_and_tools", "system_tool", "throttled")],
        make=BedrockDecoder,
    ),
    Case("bedrock-answer", fixtures("bedrock", "converse.json"), make=lambda: BedrockDecoder(whole=True)),
    Case("bedrock-embeddings", fixtures("bedrock", "embed_*.json"), read=decode_embeddings),
    Case("bedrock-rerank", fixtures("bedrock", "rerank.json"), read=decode_rerank),
    Case("bedrock-error", [b'{"__type":"a#ThrottlingException","message":"slow down"}'], read=error_of),
]
