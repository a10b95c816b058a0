"""Loads SQL: the named blocks of `queries.sql`, and the files of `migrations/`."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Final

from sinks.comments import Comments

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_FILE: Final = re.compile(r"(\d{4})_\w+\.sql")


class BadIdentifier(ValueError):
    """A name that may not stand in a statement."""


@dataclass(frozen=True)
class Migration:
    """One file; `statements` are its statements with {database} and {analytics} still in them.

    Those that comment the columns of its views are among them (`sinks.comments`).
    """

    version: int
    name: str
    checksum: str
    statements: tuple[str, ...]


def identifier(name: str) -> str:
    """`name`, if it is a plain identifier. Raises BadIdentifier."""
    if not _IDENTIFIER.fullmatch(name):
        raise BadIdentifier(f"{name!r} can't be the name of a database or table: use letters, digits and _")
    return name


@cache
def queries() -> Mapping[str, str]:
    """The blocks of `queries.sql` by name, without comments."""
    text = (files("sinks") / "queries.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


def query(name: str, **names: str) -> str:
    """The block `name` with each of `names` ({database}, {table} ...) put in.

    Raises BadIdentifier for what isn't a plain name; `ranges` (a condition) and `columns` go in as they are.
    """
    text = queries()[name]
    for key, value in names.items():
        text = text.replace(f"{{{key}}}", value if key in ("ranges", "columns") else identifier(value))
    return text


def filled(statement: str, names: Mapping[str, str]) -> str:
    """`statement` with each {name} of `names` put in. Raises BadIdentifier for what isn't a plain name."""
    for key, value in names.items():
        statement = statement.replace(f"{{{key}}}", identifier(value))
    return statement


@cache
def migrations() -> tuple[Migration, ...]:
    """The migrations in their order. Raises ValueError where two have one number or a name is odd."""
    found = sorted(_read(), key=lambda m: m.version)
    versions = [m.version for m in found]
    if versions != list(range(1, len(found) + 1)):
        raise ValueError(f"migrations must be numbered 1, 2, 3 ...: found {versions}")
    comments = Comments()
    return tuple(replace(m, statements=tuple(comments.follow(m.statements))) for m in found)


def _read() -> Iterator[Migration]:
    for path in (files("sinks") / "migrations").iterdir():
        if not path.name.endswith(".sql"):
            continue
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise ValueError(f"{path.name}: a migration is named NNNN_what_it_does.sql")
        text = path.read_text(encoding="utf-8")
        checksum = hashlib.sha256(text.encode()).hexdigest()
        yield Migration(int(match[1]), path.name, checksum, tuple(split(text)))


def split(text: str) -> Iterator[str]:
    """The statements of a file: each ends in a semicolon at the end of a line."""
    for part in re.split(r";[ \t]*(?:\n|\Z)", text):
        lines = [line for line in part.splitlines() if not line.startswith("--")]
        statement = "\n".join(lines).strip()
        if statement:
            yield statement
