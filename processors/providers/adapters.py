"""Which adapter and which transport a configured provider has."""

from typing import assert_never

from processors.providers.auth import NoCredentials
from processors.providers.authorisers import Resolver, authoriser_of
from processors.providers.base import Adapter
from processors.providers.call import HttpTransport, Transport
from processors.providers.dummy import DummyTransport
from processors.providers.failures import Errors
from processors.providers.openai.adapter import OpenAiAdapter
from processors.providers.openai.presets import dialect_of
from processors.providers.sessions import Sessions
from schemas.config import DummyBehaviour, Provider


def adapter_of(provider: Provider) -> Adapter:
    """The adapter of the provider's kind; the dummy speaks the OpenAI form. A worker loads only those that it needs."""
    match provider.kind:
        case "openai" | "dummy":
            return OpenAiAdapter(provider)
        case "openai-responses":
            from processors.providers.openai.responses import ResponsesAdapter

            return ResponsesAdapter()
        case "azure":
            from processors.providers.openai.azure import AzureAdapter

            return AzureAdapter(provider)
        case "anthropic":
            from processors.providers.anthropic.adapter import AnthropicAdapter

            return AnthropicAdapter()
        case "gemini":
            from processors.providers.gemini.adapter import GeminiAdapter

            return GeminiAdapter()
        case "vertex":
            from processors.providers.gemini.adapter import VertexAdapter

            return VertexAdapter()
        case "bedrock":
            from processors.providers.bedrock.adapter import BedrockAdapter

            return BedrockAdapter()
        case "mistral":
            from processors.providers.mistral.adapter import MistralAdapter

            return MistralAdapter()
        case "cohere":
            from processors.providers.cohere.adapter import CohereAdapter

            return CohereAdapter()
        case _:
            assert_never(provider.kind)


def base_url_of(provider: Provider) -> str:
    """Where the provider is: as told, else the preset's or the vendor's own place."""
    return provider.url(dialect_of(provider).base_url if provider.preset is not None else None)


def transport_of(provider: Provider, key: str | None, sessions: Sessions, resolver: Resolver) -> Transport:
    """The transport to the provider; `key` is the reference to the secret that it uses of the provider's pool.

    Raises ValueError where a secret or credentials can't be had, or the base URL is none.
    """
    if provider.kind == "dummy":
        return DummyTransport(provider.dummy or DummyBehaviour.model_validate({}))
    try:
        authoriser = authoriser_of(provider, key, resolver)
    except NoCredentials as error:
        raise ValueError(str(error)) from error
    return HttpTransport(
        sessions.of(provider.headers),
        base_url_of(provider),
        provider.headers,
        provider.connect_timeout_s,
        authoriser,
    )


def error_tables() -> dict[str, Errors]:
    """The vendors' parts of the error table, by kind; what none of them knows is in `failures.COMMON`."""
    from processors.providers.anthropic import wire as anthropic
    from processors.providers.bedrock import wire as bedrock
    from processors.providers.cohere import wire as cohere
    from processors.providers.gemini import errors as gemini
    from processors.providers.mistral import wire as mistral
    from processors.providers.openai import azure
    from processors.providers.openai import errors as openai

    return {
        "openai": openai.ERRORS,
        "azure": azure.ERRORS,
        "anthropic": anthropic.ERRORS,
        "gemini": gemini.ERRORS,
        "vertex": gemini.ERRORS,
        "bedrock": bedrock.ERRORS,
        "mistral": mistral.ERRORS,
        "cohere": cohere.ERRORS,
    }
