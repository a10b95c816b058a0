"""A view's columns mean what its table's mean: they take over the comments of the table's columns of the same name.

ClickHouse keeps no comment that stands in a view's own definition, and forgets all of them where a view is made
anew. So a statement that sets them follows each view, made of the migrations' text. What a view adds or changes is
commented in its migration, after the view.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

_TABLE: Final = re.compile(r"(?:CREATE TABLE IF NOT EXISTS|ALTER TABLE) (\{database\}\.\w+)\b")
_VIEW: Final = re.compile(
    r"CREATE OR REPLACE VIEW (\{analytics\}\.\w+)\b.*?\bFROM (\{database\}\.\w+)\b", re.DOTALL
)
_CONTINUED: Final = re.compile(r"\n {5,}")
_COLUMN: Final = re.compile(
    r"^ {4}(?:(?:ADD|MODIFY) COLUMN (?:IF (?:NOT )?EXISTS )?)?(?P<name>`?\w+`?) .*?\bCOMMENT (?P<text>'(?:[^']|'')*')"
    r"|^ {4}COMMENT COLUMN (?P<again>`?\w+`?) (?P<other>'(?:[^']|'')*')",
    re.MULTILINE,
)


class Comments:
    """Reads migrations in their order, and knows the comment of each column of each table by then."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, str]] = {}

    def follow(self, statements: Iterable[str]) -> Iterator[str]:
        """`statements`, and after each view the one that comments its columns."""
        for statement in statements:
            yield statement
            if (table := _TABLE.match(statement)) is not None:
                self._of.setdefault(table[1], {}).update(_columns(statement))
            elif (view := _VIEW.match(statement)) is not None and (known := self._of.get(view[2])):
                said = [f"    COMMENT COLUMN IF EXISTS {name} {text}" for name, text in known.items()]
                yield f"ALTER TABLE {view[1]}\n" + ",\n".join(said)


def _columns(statement: str) -> dict[str, str]:
    """The comments (as SQL texts) of the columns that a statement makes, changes or comments."""
    lines = _CONTINUED.sub(" ", statement)
    return {m["name"] or m["again"]: m["text"] or m["other"] for m in _COLUMN.finditer(lines)}
