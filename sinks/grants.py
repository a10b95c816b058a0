"""SQL of the read-only roles: one for whoever may read all, and one a tenant for those who may read its rows alone.

    sluice_reader          everything, read only
    sluice_tenants         the tables and views that have a `tenant`; by itself it sees no row of them
    sluice_tenant_<name>   with sluice_tenants: the rows of that tenant

A tenant's rows are set apart by row policies on the tables. The views are of SQL SECURITY INVOKER: who asks through
one is asked for his own rights on its tables, so that a view is no way round. What has no `tenant` isn't granted to
tenants: dead letters, whose tenant nobody has verified, the configuration, and the sink's own tables.
"""

import hashlib
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

READER: Final = "sluice_reader"
TENANTS: Final = "sluice_tenants"
PROFILE: Final = "sluice_reading"
# Mode 2: nothing is written, and settings of a query such as its output format may be given.
_SETTINGS: Final = "readonly = 2, max_execution_time = 300, max_memory_usage = 4294967296"


@dataclass(frozen=True)
class Readable:
    """What there is to read: the databases, and what in them has a column `tenant`."""

    database: str
    analytics: str
    tables: Sequence[str]
    views: Sequence[str]


@dataclass(frozen=True)
class Person:
    """A user who gets the rights. Without `tenants` he may read everything.

    With a `password` he is made unless he is there; without one he must be.
    """

    name: str
    tenants: Sequence[str] = ()
    password: str | None = field(default=None, repr=False)


def role_of(tenant: str) -> str:
    """The role that sees a tenant's rows."""
    return f"sluice_tenant_{tenant}"


def statements(
    readable: Readable, tenants: Iterable[str], person: Person | None = None, cluster: str | None = None
) -> Iterator[str]:
    """The statements, which may be run again at any time: after a migration, to take in its tables.

    `tenants` get a role each, with or without a `person` who has it.
    """
    on = f" ON CLUSTER {name(cluster)}" if cluster else ""
    yield f"CREATE SETTINGS PROFILE IF NOT EXISTS {name(PROFILE)}{on} SETTINGS {_SETTINGS}"
    yield f"CREATE ROLE IF NOT EXISTS {name(READER)}{on} SETTINGS PROFILE {text(PROFILE)}"
    for database in (readable.database, readable.analytics):
        yield f"GRANT{on} SELECT ON {name(database)}.* TO {name(READER)}"
    yield f"CREATE ROLE IF NOT EXISTS {name(TENANTS)}{on} SETTINGS PROFILE {text(PROFILE)}"
    yield from _of_tenants(readable, on)
    for tenant in dict.fromkeys(tenants):
        yield from _of_tenant(readable, tenant, on)
    if person is not None:
        yield from _of_person(person, on)


def _of_tenants(readable: Readable, on: str) -> Iterator[str]:
    """The policies first: no table is open to a tenant before its rows are set apart."""
    for table in readable.tables:
        where = f"{name(readable.database)}.{name(table)}"
        # A table with policies shows nothing to whom none of them names, the sink among them, unless the server is
        # told otherwise; where it is told so, it shows everything to a tenant whom none names. So both are named.
        yield f"CREATE ROW POLICY OR REPLACE sluice_all{on} ON {where} USING 1 TO ALL EXCEPT {name(TENANTS)}"
        yield f"CREATE ROW POLICY OR REPLACE sluice_none{on} ON {where} USING 0 TO {name(TENANTS)}"
    for database, names in ((readable.database, readable.tables), (readable.analytics, readable.views)):
        for each in names:
            yield f"GRANT{on} SELECT ON {name(database)}.{name(each)} TO {name(TENANTS)}"


def _of_tenant(readable: Readable, tenant: str, on: str) -> Iterator[str]:
    role = name(role_of(tenant))
    yield f"CREATE ROLE IF NOT EXISTS {role}{on}"
    for table in readable.tables:
        where = f"{name(readable.database)}.{name(table)}"
        yield f"CREATE ROW POLICY OR REPLACE {role}{on} ON {where} USING tenant = {text(tenant)} TO {role}"


def _of_person(person: Person, on: str) -> Iterator[str]:
    if person.password is not None:
        salt = secrets.token_hex(16)
        digest = hashlib.sha256((person.password + salt).encode()).hexdigest()
        identified = f"IDENTIFIED WITH sha256_hash BY {text(digest)} SALT {text(salt)}"
        yield f"CREATE USER IF NOT EXISTS {name(person.name)}{on} {identified}"
    roles = [TENANTS, *map(role_of, person.tenants)] if person.tenants else [READER]
    # Replaces whatever roles he had: a reader who becomes a tenant's must not keep the right to read all.
    yield f"GRANT{on} {', '.join(map(name, roles))} TO {name(person.name)} WITH REPLACE OPTION"


def name(identifier: str) -> str:
    """`identifier` as it stands in a statement, whatever it holds."""
    return "`" + identifier.replace("\\", "\\\\").replace("`", "\\`") + "`"


def text(value: str) -> str:
    """`value` as a string literal, whatever it holds."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
