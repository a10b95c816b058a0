"""What the fuzz throws at Anthropic's decoders."""

from processors.providers.anthropic.adapter import AnthropicDecoder
from processors.providers.anthropic.wire import error_of
from tests.fuzz_providers import Case, fixtures

CASES = [
    Case("anthropic-stream", fixtures("anthropic", "*.sse"), make=AnthropicDecoder),
    Case(
        "anthropic-message", fixtures("anthropic", "message.json"), make=lambda: AnthropicDecoder(whole=True)
    ),
    Case("anthropic-error", fixtures("anthropic", "error_*.json"), read=error_of),
]
