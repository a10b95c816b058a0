"""What is fuzzed of OpenAI's wires and the servers that speak like it."""

from functools import partial

from processors.providers.embeddings import decode_embeddings, decode_rerank
from processors.providers.openai.errors import error_of
from processors.providers.openai.presets import DIALECTS
from processors.providers.openai.responses_stream import ResponsesDecoder
from processors.providers.openai.stream import OpenAiDecoder
from tests.fuzz_providers import Case, fixtures

_SERVERS = (*DIALECTS, "azure")
_STREAMS = [fixture for name in _SERVERS if name != "llama-cpp" for fixture in fixtures(name, "*.sse")]

CASES = [
    Case("openai chat", fixtures("openai", "chat*.sse"), OpenAiDecoder),
    Case("openai chat whole", fixtures("openai", "chat*.json"), partial(OpenAiDecoder, True)),
    Case("openai compatible", _STREAMS, partial(OpenAiDecoder, False, DIALECTS["openrouter"])),
    Case("openai responses", fixtures("openai", "responses*.sse"), ResponsesDecoder),
    Case("openai responses whole", fixtures("openai", "responses*.json"), partial(ResponsesDecoder, True)),
    Case(
        "openai errors", fixtures("openai", "error*.json") + fixtures("azure", "error*.json"), read=error_of
    ),
    Case("openai embeddings", fixtures("openai", "embeddings*.json"), read=decode_embeddings),
    Case("openai rerank", fixtures("vllm", "rerank.json"), read=decode_rerank),
]
