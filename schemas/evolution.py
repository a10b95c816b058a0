"""What may change between two versions of a schema: FULL compatibility, checked without a registry.

Readers and writers of both versions live side by side during a rolling upgrade, so a change must hold both ways:
fields with a default may come and go; everything else stays as it is.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schemas.definitions import PRIMITIVES, full_name, self_contained
from schemas.records import type_names


def breaks(old: Any, new: Any) -> list[str]:
    """What in `new` breaks full compatibility with `old`, each with its place; both are self-contained."""
    return list(_compare(old, new, "", _named(old), _named(new)))


def _compare(
    old: Any, new: Any, place: str, old_types: dict[str, Any], new_types: dict[str, Any]
) -> Iterator[str]:
    old, new = _resolve(old, old_types), _resolve(new, new_types)
    if isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"{place}: the union has {len(new)} branches, had {len(old)}"
        for was, now in zip(old, new, strict=False):
            yield from _compare(was, now, place, old_types, new_types)
    elif isinstance(old, dict) and isinstance(new, dict) and old["type"] == new["type"]:
        yield from _compare_complex(old, new, place, old_types, new_types)
    elif old != new:
        yield f"{place}: the type is {_shown(new)}, was {_shown(old)}"


def _compare_complex(
    old: dict[str, Any], new: dict[str, Any], place: str, old_types: dict[str, Any], new_types: dict[str, Any]
) -> Iterator[str]:
    for attribute in ("name", "logicalType", "precision", "scale", "symbols", "size"):
        if old.get(attribute) != new.get(attribute):
            yield f"{place}: {attribute} is {new.get(attribute)!r}, was {old.get(attribute)!r}"
    for part in ("items", "values"):
        if part in old:
            yield from _compare(old[part], new[part], f"{place}[]", old_types, new_types)
    was = {f["name"]: f for f in old.get("fields", ())}
    now = {f["name"]: f for f in new.get("fields", ())}
    for name, field in (was | now).items():
        where = f"{place}.{name}".lstrip(".")
        if name in was and name in now:
            yield from _compare(was[name]["type"], now[name]["type"], where, old_types, new_types)
            if ("default" in was[name]) != ("default" in now[name]):
                yield f"{where}: the default was {'removed' if 'default' in was[name] else 'added'}"
        elif "default" not in field:
            change = "added" if name in now else "removed"
            yield f"{where}: a field without a default was {change}"


def _resolve(schema: Any, types: dict[str, Any]) -> Any:
    return types.get(schema, schema) if isinstance(schema, str) else schema


def _named(schema: Any) -> dict[str, Any]:
    """Every record that a self-contained schema defines, by full name."""
    if isinstance(schema, list):
        return {name: found for branch in schema for name, found in _named(branch).items()}
    if not isinstance(schema, dict):
        return {}
    own = {full_name(schema): schema} if "fields" in schema else {}
    inner = [f["type"] for f in schema.get("fields", ())] + [
        schema[p] for p in ("items", "values") if p in schema
    ]
    return own | _named(inner)


def _shown(schema: Any) -> str:
    if isinstance(schema, str) and schema in PRIMITIVES:
        return schema
    return str(schema.get("name", schema["type"])) if isinstance(schema, dict) else str(schema)


def write_release(version: str, folder: Path) -> list[Path]:
    """Write today's schemas as those of `version` under `folder`; returns the files.

    At a release: `python -m schemas.evolution 0.2.0`. Raises FileExistsError where the version is there already.
    """
    target = folder / version
    target.mkdir(parents=True)
    files = []
    for name in type_names:
        files.append(target / f"{name}.json")
        files[-1].write_text(json.dumps(self_contained(name), indent=1) + "\n", encoding="utf-8")
    return files


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m schemas.evolution VERSION")
    print(*write_release(sys.argv[1], Path(__file__).parent / "released"), sep="\n")
