"""Broken answers of Mistral."""

from typing import Final

from processors.providers.mistral.adapter import MistralAdapter, MistralDecoder, decode_embeddings
from tests.fuzz_providers import Case, fixtures

CASES: Final = [
    Case("mistral-stream", fixtures("mistral", "*.sse"), make=MistralDecoder),
    Case("mistral-whole", fixtures("mistral", "whole.json"), make=lambda: MistralDecoder(whole=True)),
    Case(
        "mistral-errors",
        fixtures("mistral", "error_*.json"),
        read=lambda data: MistralAdapter().failure(429, None, data),
    ),
    Case("mistral-embeddings", fixtures("mistral", "embeddings.json"), read=decode_embeddings),
]
