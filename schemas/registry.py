"""The schema registry (Confluent's HTTP API) and the store of every schema that this process knows."""

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import httpx
import msgspec
from fastavro.types import Schema

from schemas import definitions, names
from schemas.records import type_names
from schemas.signals import Invalid

COMPATIBILITY: Final = "FULL_TRANSITIVE"
_REMEMBER_MISSING_S: Final = 30.0
_MISSING_MAX: Final = 10_000
_MAX_REFERENCES: Final = 100

TOPIC_RECORDS: Final[dict[str, str]] = {
    names.REQUESTS: "sluice.RequestEvent",
    names.RESULTS: "sluice.ResultEvent",
    names.USAGE: "sluice.UsageEvent",
    names.AUDIT: "sluice.AuditEvent",
    names.FEEDBACK: "sluice.Feedback",
    names.CONTROL: "sluice.Control",
    names.DEAD_LETTERS: "sluice.DeadLetter",
    names.ATTEMPTS: "sluice.Attempt",
}
"""The record of each topic that holds one kind of record."""

_BY_RECORD_NAME: Final = (
    "sluice.ClassifiedRequest", "sluice.Outcome", "sluice.Control", "sluice.CallTask", "sluice.DeltaEvent"
)  # fmt: skip
SUBJECTS: Final[dict[str, str]] = {f"{topic}-value": record for topic, record in TOPIC_RECORDS.items()} | {
    record: record for record in _BY_RECORD_NAME
}
"""Every subject and the record registered under it."""


class RegistryUnreachable(Exception):
    """The registry didn't answer, or answered that it can't serve now."""


class IncompatibleSchema(Exception):
    """The registry refuses a schema because readers or writers of an earlier one would break."""


class UnknownSchemaId(Exception):
    """No schema with this id is in the store yet."""

    def __init__(self, schema_id: int) -> None:
        super().__init__(f"schema id {schema_id} is not in the store")
        self.schema_id = schema_id


def subject_of(topic: str, record_name: str) -> str:
    """The subject of a record on a topic: by topic where it is public, by record name on our inner ones."""
    return f"{topic}-value" if topic in TOPIC_RECORDS else record_name


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
        return await self._json("PUT", path, {"compatibility": COMPATIBILITY}) is not None

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


@dataclass(frozen=True, slots=True)
class Writer:
    """A schema that events are written with. `reader` is None where bytes lie as our own schema has them."""

    name: str
    record_type: type[msgspec.Struct] | None
    schema: Schema
    reader: Schema | None


class SchemaStore:
    """Our schemas, those of released versions, and those fetched from the registry by id.

    Without a registry nothing is fetched, and the codec writes single-object encoding.
    """

    def __init__(self, registry: Registry | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry = registry
        self.subject_ids: dict[str, int] = {}
        self._clock = clock
        self._writers: dict[int, Writer] = {}
        self._missing: OrderedDict[int, tuple[float, Invalid]] = OrderedDict()
        self._own = {name: definitions.canonical(definitions.self_contained(name)) for name in type_names}
        self.readers = {name: definitions.prepare(definitions.self_contained(name)) for name in type_names}
        self.fingerprints = {name: definitions.crc64(form) for name, form in self._own.items()}
        self._by_fingerprint = {
            definitions.crc64(definitions.canonical(schema)): self.writer(schema) for schema in _all_bundled()
        }

    def writer(self, schema: Any) -> Writer:
        """How to read events written with a self-contained schema. Raises UnusableSchema."""
        prepared = definitions.prepare(schema)
        if not isinstance(prepared, dict) or prepared.get("type") != "record":
            raise definitions.UnusableSchema("not a record")
        # Names match without their namespace, as Avro's schema resolution has it.
        name = f"{definitions.NAMESPACE}.{str(prepared['name']).rpartition('.')[2]}"
        record_type = type_names.get(name)
        if record_type is None:
            return Writer(str(prepared["name"]), None, prepared, None)
        if definitions.canonical(schema) == self._own[name]:
            return Writer(name, record_type, self.readers[name], None)
        return Writer(name, record_type, prepared, self.readers[name])

    def add(self, schema_id: int, schema: Any) -> None:
        """Know a self-contained schema by its registry id. Raises UnusableSchema."""
        self._writers[schema_id] = self.writer(schema)

    def by_id(self, schema_id: int) -> Writer:
        """The schema of a Confluent id. Raises UnknownSchemaId where it must be fetched first."""
        try:
            return self._writers[schema_id]
        except KeyError:
            raise UnknownSchemaId(schema_id) from None

    def by_fingerprint(self, fingerprint: bytes) -> Writer:
        """The schema of a CRC-64-AVRO fingerprint. Raises Invalid where it is none of Sluice's own."""
        writer = self._by_fingerprint.get(fingerprint)
        if writer is None:
            message = (
                f"single-object encoding with the unknown schema fingerprint {fingerprint.hex()}: "
                "use one of Sluice's own schemas, or the registry and Confluent's wire format"
            )
            raise Invalid("unknown_schema", message)
        return writer

    async def register_all(self) -> dict[str, int]:
        """Register every subject with FULL_TRANSITIVE compatibility; subject -> id.

        Raises IncompatibleSchema or RegistryUnreachable; ValueError without a registry.
        """
        registry = self._required()
        for subject, name in SUBJECTS.items():
            known = await registry.require_compatibility(subject)
            self._remember(subject, await registry.register(subject, definitions.self_contained(name)))
            if not known:
                await registry.require_compatibility(subject)
        return dict(self.subject_ids)

    async def lookup_all(self) -> dict[str, int]:
        """Learn the id of every subject, changing nothing; subject -> id.

        Raises LookupError naming the subjects that lack our schema, or RegistryUnreachable.
        """
        registry, missing = self._required(), []
        for subject, name in SUBJECTS.items():
            schema_id = await registry.lookup(subject, definitions.self_contained(name))
            if schema_id is None:
                missing.append(subject)
            else:
                self._remember(subject, schema_id)
        if missing:
            raise LookupError(f"not in the registry: {', '.join(missing)}; run `sluice topics apply`")
        return dict(self.subject_ids)

    async def fetch(self, schema_id: int) -> None:
        """Bring the schema of an id into the store.

        Raises Invalid("unknown_schema") where the registry doesn't know it or it can't be used (remembered
        for 30 seconds), RegistryUnreachable where the registry doesn't answer.
        """
        expiry, problem = self._missing.get(schema_id, (0.0, None))
        if problem is not None and self._clock() < expiry:
            raise problem
        try:
            self.add(schema_id, await self._fetched(schema_id))
        except (definitions.UnusableSchema, Invalid) as error:
            message = f"the schema with id {schema_id} can't be used: {error}"
            invalid = error if isinstance(error, Invalid) else Invalid("unknown_schema", message)
            self._missing[schema_id] = self._clock() + _REMEMBER_MISSING_S, invalid
            if len(self._missing) > _MISSING_MAX:
                self._missing.popitem(last=False)
            raise invalid from None

    async def _fetched(self, schema_id: int) -> Any:
        if self.registry is None:
            message = (
                f"Confluent wire format (schema id {schema_id}), but no registry is configured: "
                "set SLUICE_REGISTRY_URL, or publish Avro single-object encoding"
            )
            raise Invalid("unknown_schema", message)
        answer = await self.registry.schema(schema_id)
        if answer is None:
            message = (
                f"the registry has no schema with id {schema_id}: register it there, or use the same registry"
            )
            raise Invalid("unknown_schema", message)
        return await self._inlined(answer)

    async def _inlined(self, answer: dict[str, Any]) -> Any:
        """The schema of a registry answer with everything it refers to written out. Raises UnusableSchema."""
        known: dict[str, Any] = {}
        open_references = list(answer.get("references") or [])
        schema, seen = _parsed(answer), 0
        while open_references:
            seen += 1
            if seen > _MAX_REFERENCES:
                raise definitions.UnusableSchema(f"more than {_MAX_REFERENCES} references")
            reference = open_references.pop()
            assert self.registry is not None
            found = await self.registry.version(reference["subject"], int(reference["version"]))
            if found is None:
                message = f"it refers to {reference['name']}, which the registry lacks"
                raise definitions.UnusableSchema(message)
            known[reference["name"]] = _parsed(found)
            open_references += found.get("references") or []
        return definitions.inline(schema, known) if known else schema

    def _required(self) -> Registry:
        if self.registry is None:
            raise ValueError("no registry is configured: set SLUICE_REGISTRY_URL")
        return self.registry

    def _remember(self, subject: str, schema_id: int) -> None:
        name = SUBJECTS[subject]
        self.subject_ids[subject] = schema_id
        self._writers[schema_id] = Writer(name, type_names[name], self.readers[name], None)


def _parsed(answer: dict[str, Any]) -> Any:
    if (kind := answer.get("schemaType") or "AVRO") != "AVRO":
        raise definitions.UnusableSchema(f"the schema is of type {kind}: publish Avro")
    try:
        return json.loads(answer["schema"])
    except (ValueError, RecursionError) as error:
        raise definitions.UnusableSchema(f"the schema's text is not JSON: {error}") from error


def _all_bundled() -> Iterable[Any]:
    """Our own schemas and those of every released version, own ones last."""
    yield from definitions.released().values()
    yield from (definitions.self_contained(name) for name in type_names)
