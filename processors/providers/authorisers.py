"""The authoriser of a configured provider."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from processors.providers.auth import Authoriser, FixedHeaders, NoCredentials
from processors.providers.redact import SECRETS
from schemas.config import Auth, Provider

_KEY_HEADERS: Final[Mapping[str, str]] = {
    "anthropic": "x-api-key",
    "azure": "api-key",
    "gemini": "x-goog-api-key",
    "vertex": "x-goog-api-key",
}
_PLAIN: Final = "authorization"


@dataclass(frozen=True, slots=True)
class Resolver:
    """Finds what secret references stand for: a value for a header, or a text of several lines. Raise ValueError."""

    value: Callable[[str], str]
    document: Callable[[str], str]


def authoriser_of(provider: Provider, key: str | None, resolver: Resolver) -> Authoriser:
    """What authorises calls to the provider; `key` is the reference to the secret of the pool's key, if it has one.

    Raises NoCredentials where something is missing, ValueError where a secret can't be had.
    """
    auth = provider.auth or Auth.model_validate(provider.auth_type)
    match auth.type:
        case "none":
            return FixedHeaders({})
        case "key":
            return FixedHeaders(_key_header(provider, auth, key, resolver))
        case "aws":
            return _aws(provider, auth, resolver)
        case "google":
            from processors.providers.auth_google import google_token

            account = resolver.document(auth.credentials) if auth.credentials else None
            return google_token(account, auth.scope, SECRETS.add_token)
        case "entra":
            from processors.providers.auth_entra import EntraApplication, entra_token

            application = None
            if auth.tenant_id and auth.client_id and auth.client_secret:
                secret = resolver.value(auth.client_secret)
                application = EntraApplication(auth.tenant_id, auth.client_id, secret)
            return entra_token(application, auth.scope, SECRETS.add_token)


def _key_header(provider: Provider, auth: Auth, key: str | None, resolver: Resolver) -> dict[str, str]:
    if key is None:
        return {}
    secret = resolver.value(key)
    header = (auth.header or _KEY_HEADERS.get(provider.kind, _PLAIN)).lower()
    return {header: f"Bearer {secret}" if header == _PLAIN else secret}


def _aws(provider: Provider, auth: Auth, resolver: Resolver) -> Authoriser:
    from processors.providers.auth_aws import AwsKeys, SigV4

    if provider.region is None:
        raise NoCredentials("region: the provider's requests are signed for a region: give it")
    keys = None
    if auth.access_key_id and auth.secret_access_key:
        token = resolver.value(auth.session_token) if auth.session_token else None
        keys = AwsKeys(resolver.value(auth.access_key_id), resolver.value(auth.secret_access_key), token)
    return SigV4(provider.region, keys=keys, profile=auth.profile, told=SECRETS.add_token)
