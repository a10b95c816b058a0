"""AWS: requests signed (Signature Version 4) by botocore, with the credentials that AWS's own tools would find."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from processors.providers.auth import Lease, Leased, NoCredentials, library
from processors.providers.base import HttpRequest

# botocore renews credentials itself when it is asked: it is, in a thread, so often.
_ASK_EVERY_S: Final = 60.0
_GOOD_FOR_S: Final = 300.0
# Hashing more than this stands in everybody's way.
_LARGE_BODY: Final = 256 << 10


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """Keys given in the configuration, as they are."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None


class SigV4:
    """Signs for one region and service. `told` learns each secret key and session token that is found: AWS quotes what
    was signed in its errors.

    Raises MissingExtra where botocore isn't installed.
    """

    def __init__(
        self,
        region: str,
        service: str = "bedrock",
        *,
        keys: AwsKeys | None = None,
        profile: str | None = None,
        told: Callable[[str], None] = lambda _secret: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._request = library("botocore.awsrequest", "aws").AWSRequest
        self._signer = library("botocore.auth", "aws").SigV4Auth
        credentials, session = library("botocore.credentials", "aws"), library("botocore.session", "aws")
        self._region, self._service, self._now = region, service, now
        self._found: Any = None
        self._told = told

        def find() -> Any:
            if keys is not None:
                return credentials.Credentials(keys.access_key_id, keys.secret_access_key, keys.session_token)
            found = session.Session(profile=profile).get_credentials()
            if found is None:
                raise NoCredentials(
                    "no AWS credentials in the environment, the shared files or the metadata server: "
                    "give them there, or in the provider's auth"
                )
            return found

        self._find = find
        self._keys = Leased(self._frozen, now)

    async def headers(self, request: HttpRequest, url: str) -> Mapping[str, str]:
        keys = await self._keys.get()
        if len(request.body) > _LARGE_BODY:
            return await asyncio.to_thread(self._sign, request, url, keys)
        return self._sign(request, url, keys)

    def _frozen(self) -> Lease[Any]:
        if self._found is None:
            self._found = self._find()
        now, keys = self._now(), self._found.get_frozen_credentials()
        for secret in (keys.secret_key, keys.token):
            if secret:
                self._told(secret)
        return Lease(keys, now + _ASK_EVERY_S, now + _GOOD_FOR_S)

    def _sign(self, request: HttpRequest, url: str, keys: Any) -> dict[str, str]:
        # What is signed must reach AWS unchanged: the headers that proxies and clients add on their way are left out.
        signed = {k: v for k, v in request.headers.items() if k.lower() == "content-type"}
        order = self._request(method=request.method, url=url, data=request.body, headers=signed)
        self._signer(keys, self._service, self._region).add_auth(order)
        return {name: value for name, value in order.headers.items() if name not in signed}
