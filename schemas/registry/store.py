"""The store of every schema that this process knows, and how events written with each are read."""

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from fastavro.types import Schema

from schemas import definitions
from schemas.records import type_names
from schemas.registry.client import Registry
from schemas.registry.subjects import SUBJECTS
from schemas.signals import Invalid

_REMEMBER_MISSING_S: Final = 30.0
_MISSING_MAX: Final = 10_000
_MAX_REFERENCES: Final = 100


class UnknownSchemaId(Exception):
    """No schema with this id is in the store yet."""

    def __init__(self, schema_id: int) -> None:
        super().__init__(f"schema id {schema_id} is not in the store")
        self.schema_id = schema_id


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
