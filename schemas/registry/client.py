"""A client of the schema registry: Confluent's HTTP API."""

import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import httpx

_COMPATIBILITY: Final = "FULL_TRANSITIVE"


class RegistryUnreachable(Exception):
    """The registry didn't answer, or answered that it can't serve now."""


class IncompatibleSchema(Exception):
    """The registry refuses a schema because readers or writers of an earlier one would break."""


class Registry:
    """A client of the Confluent registry API at `url` (without a trailing path such as /subjects)."""

    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self._url = url.rstrip("/")
        self._http = http

    async def schema(self, schema_id: int) -> dict[str, Any] | None:
        """The answer for a schema id (`schema`, maybe `schemaType`, `references`), None where unknown."""
        return await self._json("GET", f"/schemas/ids/{schema_id}")

    async def version(self, subject: str, version: int) -> dict[str, Any] | None:
        """One version of a subject, None where unknown."""
        return await self._json("GET", f"/subjects/{quote(subject, safe='')}/versions/{version}")

    async def register(self, subject: str, schema: Mapping[str, Any]) -> int:
        """Register a schema (again) and return its id. Raises IncompatibleSchema where it is refused."""
        path = f"/subjects/{quote(subject, safe='')}/versions"
        answer = await self._json("POST", path, {"schema": json.dumps(schema)})
        if answer is None:
            problem = f"the registry at {self._shown} answers 404 to POST {path}: is the URL right?"
            raise RegistryUnreachable(problem)
        return int(answer["id"])

    async def lookup(self, subject: str, schema: Mapping[str, Any]) -> int | None:
        """The id of exactly this schema under `subject`, None where it isn't registered."""
        path = f"/subjects/{quote(subject, safe='')}"
        answer = await self._json("POST", path, {"schema": json.dumps(schema)})
        return None if answer is None else int(answer["id"])

    async def require_compatibility(self, subject: str) -> bool:
        """Set FULL_TRANSITIVE for a subject; False where the registry doesn't know the subject yet."""
        path = f"/config/{quote(subject, safe='')}"
        return await self._json("PUT", path, {"compatibility": _COMPATIBILITY}) is not None

    async def compatible(self, subject: str, schema: dict[str, Any]) -> bool:
        """True where every registered version and `schema` can read each other's events."""
        path = f"/compatibility/subjects/{quote(subject, safe='')}/versions"
        answer = await self._json("POST", path, {"schema": json.dumps(schema)})
        return answer is None or bool(answer["is_compatible"])

    @property
    def _shown(self) -> str:
        url = httpx.URL(self._url)
        return str(url.copy_with(username=None, password=None)) if url.userinfo else self._url

    async def _json(self, method: str, path: str, body: object = None) -> dict[str, Any] | None:
        try:
            answer = await self._http.request(method, self._url + path, json=body)
        except httpx.TransportError as error:
            problem = f"the registry at {self._shown} can't be reached ({type(error).__name__}: {error})"
            raise RegistryUnreachable(problem) from error
        if answer.status_code == 404:
            return None
        if answer.status_code in (409, 422):
            raise IncompatibleSchema(f"{method} {path}: {answer.text[:500]}")
        try:
            parsed = answer.json()
        except ValueError:
            parsed = None
        if answer.is_error or not isinstance(parsed, dict):
            problem = f"{method} {path} answered {answer.status_code}: {answer.text[:200]}"
            raise RegistryUnreachable(f"the registry at {self._shown}: {problem}")
        return parsed
