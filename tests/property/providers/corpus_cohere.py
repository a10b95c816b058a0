"""Broken answers of Cohere."""

from typing import Final

from processors.providers.cohere.adapter import CohereAdapter, CohereDecoder
from processors.providers.cohere.embeddings import decode_embeddings, decode_rerank
from tests.fuzz_providers import Case, fixtures

CASES: Final = [
    Case("cohere-stream", fixtures("cohere", "*.sse"), make=CohereDecoder),
    Case("cohere-whole", fixtures("cohere", "whole.json"), make=lambda: CohereDecoder(whole=True)),
    Case(
        "cohere-errors",
        fixtures("cohere", "error_*.json"),
        read=lambda data: CohereAdapter().failure(429, None, data),
    ),
    Case("cohere-embeddings", fixtures("cohere", "embed.json"), read=decode_embeddings),
    Case("cohere-rerank", fixtures("cohere", "rerank.json"), read=decode_rerank),
]
