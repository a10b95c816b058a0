"""Microsoft Entra: access tokens by azure-identity, for an application or for what the machine has."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from processors.providers.auth import BearerToken, Lease, Leased, library

SCOPE: Final = "https://cognitiveservices.azure.com/.default"
_RENEW_BEFORE_S: Final = 300.0
_ENDS_BEFORE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class EntraApplication:
    """An application that signs in with a secret of its own."""

    tenant_id: str
    client_id: str
    client_secret: str


def entra_token(
    application: EntraApplication | None,
    scope: str | None = None,
    told: Callable[[str], None] = lambda _token: None,
    now: Callable[[], float] = time.time,
    **options: Any,
) -> BearerToken:
    """Tokens for the application, else for the first identity that azure-identity finds (environment, workload,
    managed identity, developer's tools). `told` learns each token; `options` go to azure-identity.

    Raises MissingExtra.
    """
    identity = library("azure.identity", "azure")
    credential: Any = None

    def fetch() -> Lease[str]:
        nonlocal credential
        if credential is None:
            credential = (
                identity.DefaultAzureCredential(**options)
                if application is None
                else identity.ClientSecretCredential(
                    application.tenant_id, application.client_id, application.client_secret, **options
                )
            )
        token = credential.get_token(scope or SCOPE)
        told(token.token)
        return Lease(token.token, token.expires_on - _RENEW_BEFORE_S, token.expires_on - _ENDS_BEFORE_S)

    return BearerToken(Leased(fetch, now))
