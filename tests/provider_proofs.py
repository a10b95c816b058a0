"""What tests against simulators and real servers prove of providers: the tests themselves read it from here."""

from typing import Final

_WIRE: Final = ("text", "streaming", "usage")

# tests/integration/test_provider_wires.py: the small model's server, over each wire that it speaks, through Kafka.
REAL: Final[dict[str, tuple[str, ...]]] = {
    "llama-cpp": _WIRE,
    "openai-responses": _WIRE,
    "anthropic": _WIRE,
}
# tests/integration/test_simulators.py: llmock tells no usage as Mistral.
_ASKED: Final = (*_WIRE, "tools")
SIMULATED: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(
        ("openai", "openai-responses", "azure", "anthropic", "gemini", "vertex", "bedrock", "cohere"), _ASKED
    ),
    **dict.fromkeys(("groq", "together", "xai", "openrouter"), _ASKED),
    "mistral": ("text", "streaming", "tools"),
}
