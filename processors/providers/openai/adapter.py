"""OpenAI's Chat Completions and every server that speaks like it, always streamed.

What a server does its own way is in `presets.py`; the request in `request.py`, the answer in `stream.py`, errors in
`errors.py`.
"""

from collections.abc import Mapping
from typing import Final

from processors.providers import embeddings
from processors.providers.base import Feature, HttpRequest, ProviderFailure
from processors.providers.events import is_whole
from processors.providers.failures import http_failure
from processors.providers.openai.errors import ERRORS, error_of
from processors.providers.openai.presets import OPENAI, dialect_of, features_of
from processors.providers.openai.request import encode
from processors.providers.openai.stream import OpenAiDecoder
from schemas.config import Model, Provider
from schemas.records import CallTask
from schemas.signals import Invalid

__all__ = ["ERRORS", "FEATURES", "OpenAiAdapter", "OpenAiDecoder"]

FEATURES: Final[Mapping[str, Feature]] = features_of(OPENAI)


class OpenAiAdapter:
    """The adapter of `kind: openai`, in the dialect of the provider; without one, of any compatible server."""

    def __init__(self, provider: Provider | None = None) -> None:
        self.dialect = dialect_of(provider)

    def path(self, model: Model, operation: str) -> str:
        """The path of an operation, below the provider's base URL."""
        return operation

    def encode(self, task: CallTask, model: Model) -> HttpRequest:
        return encode(task, model, self.dialect, self.path(model, "/chat/completions"))

    def decoder(self, content_type: str) -> OpenAiDecoder:
        return OpenAiDecoder(is_whole(content_type), self.dialect)

    def failure(self, status: int, wait_ms: int | None, body: bytes) -> ProviderFailure:
        codes, message = error_of(body)
        return http_failure(status, codes, message, wait_ms, self.dialect.errors)

    def encode_embeddings(
        self, inputs: list[str], model: Model, *, dimensions: int | None = None, input_type: str | None = None
    ) -> HttpRequest:
        """Ask for the vectors of `inputs`. Raises signals.Invalid where the server has no embeddings."""
        if not self.dialect.embeddings:
            raise Invalid("invalid_request", f"{self.dialect.name} has no embeddings")
        path, packed = self.path(model, "/embeddings"), self.dialect.packed
        return embeddings.encode_embeddings(
            inputs, model, dimensions=dimensions, input_type=input_type, path=path, packed=packed
        )

    def decode_embeddings(self, body: bytes) -> embeddings.Embeddings:
        """The vectors of an answer. Raises ProviderFailure."""
        return embeddings.decode_embeddings(body)

    def encode_rerank(
        self, query: str, documents: list[str], model: Model, top_n: int | None = None
    ) -> HttpRequest:
        """Ask for a ranking of `documents`. Raises signals.Invalid where the server has none."""
        if not self.dialect.rerank:
            raise Invalid("invalid_request", f"{self.dialect.name} has no rerank")
        return embeddings.encode_rerank(query, documents, model, top_n, path=self.path(model, "/rerank"))

    def decode_rerank(self, body: bytes) -> embeddings.Ranking:
        """The ranking of an answer. Raises ProviderFailure."""
        return embeddings.decode_rerank(body)
