"""The schema registry and what this process knows of it: the client, the subjects, the store of schemas."""

from schemas.registry.client import IncompatibleSchema, Registry, RegistryUnreachable
from schemas.registry.store import SchemaStore, UnknownSchemaId, Writer
from schemas.registry.subjects import SUBJECTS, TOPIC_RECORDS, subject_of

__all__ = [
    "SUBJECTS",
    "TOPIC_RECORDS",
    "IncompatibleSchema",
    "Registry",
    "RegistryUnreachable",
    "SchemaStore",
    "UnknownSchemaId",
    "Writer",
    "subject_of",
]
