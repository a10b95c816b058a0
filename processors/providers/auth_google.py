"""Google: access tokens by google-auth, for a service account or for what the machine has (ADC)."""

import datetime
import json
import time
from collections.abc import Callable
from typing import Any, Final

from processors.providers.auth import BearerToken, Lease, Leased, NoCredentials, library

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_RENEW_BEFORE_S: Final = 300.0
_ENDS_BEFORE_S: Final = 10.0
_USUAL_LIFE_S: Final = 3600.0


def google_token(
    service_account: str | None,
    scope: str | None = None,
    told: Callable[[str], None] = lambda _token: None,
    now: Callable[[], float] = time.time,
) -> BearerToken:
    """Tokens for the service account whose key (a JSON text) is given, else for the default credentials.

    `told` learns each token, so that it can be kept out of logs. Raises MissingExtra, or NoCredentials where the
    JSON is none.
    """
    auth = library("google.auth", "google")
    transport = library("google.auth.transport.requests", "google")
    accounts = library("google.oauth2.service_account", "google")
    scopes = [scope or SCOPE]
    found: Any = None
    if service_account is not None:
        try:
            account = json.loads(service_account)
            found = accounts.Credentials.from_service_account_info(account, scopes=scopes)
        except (ValueError, AttributeError, TypeError) as error:
            # The error's own text may quote the key.
            message = f"auth.credentials isn't the JSON of a service account's key ({type(error).__name__})"
            raise NoCredentials(message) from None

    def fetch() -> Lease[str]:
        nonlocal found
        if found is None:
            found, _project = auth.default(scopes=scopes)
        found.refresh(transport.Request())
        token = str(found.token)
        told(token)
        ends = found.expiry
        ends_at = ends.replace(tzinfo=datetime.UTC).timestamp() if ends is not None else now() + _USUAL_LIFE_S
        return Lease(token, ends_at - _RENEW_BEFORE_S, ends_at - _ENDS_BEFORE_S)

    return BearerToken(Leased(fetch, now))
