"""Which adapter and which transport a configured provider has."""

from typing import assert_never

from processors.providers.base import Adapter
from processors.providers.call import HttpTransport, Transport
from processors.providers.dummy import DummyTransport
from processors.providers.openai import OpenAiAdapter
from processors.providers.sessions import Sessions
from schemas.config import DummyBehaviour, Provider

_openai = OpenAiAdapter()


def adapter_of(provider: Provider) -> Adapter:
    """The adapter of the provider's kind; the dummy speaks the OpenAI form."""
    match provider.kind:
        case "openai" | "dummy":
            return _openai
        case _:
            assert_never(provider.kind)


def transport_of(provider: Provider, sessions: Sessions, api_key: str | None) -> Transport:
    """The transport to the provider. `api_key` is the secret itself, already resolved.

    Raises ValueError where the provider's base URL is none.
    """
    if provider.kind == "dummy":
        return DummyTransport(provider.dummy or DummyBehaviour.model_validate({}))
    assert provider.base_url is not None, "the configuration's validation asks for it"
    authorisation = {"authorization": f"Bearer {api_key}"} if api_key else {}
    headers = {**authorisation, **provider.headers}
    return HttpTransport(sessions.of(headers), provider.base_url, headers, provider.connect_timeout_s)
