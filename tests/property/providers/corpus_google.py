"""Broken answers of Google: both decoders, errors, embeddings."""

from typing import Final

from processors.providers.gemini.adapter import GeminiAdapter, GeminiDecoder, VertexAdapter
from processors.providers.gemini.embeddings import decode_embeddings, decode_vertex_embeddings
from tests.fuzz_providers import Case, fixtures

CASES: Final = [
    Case("gemini-stream", fixtures("gemini", "*.sse") + fixtures("vertex", "*.sse"), make=GeminiDecoder),
    Case("gemini-whole", fixtures("gemini", "whole.json"), make=lambda: GeminiDecoder(whole=True)),
    Case(
        "gemini-errors",
        fixtures("gemini", "error_*.json"),
        read=lambda data: GeminiAdapter().failure(429, None, data),
    ),
    Case(
        "vertex-errors",
        fixtures("vertex", "error_*.json"),
        read=lambda data: VertexAdapter().failure(400, None, data),
    ),
    Case("gemini-embeddings", fixtures("gemini", "embed*.json"), read=decode_embeddings),
    Case(
        "vertex-embeddings", fixtures("vertex", "embed.json", "predict.json"), read=decode_vertex_embeddings
    ),
]
