"""As much of ClickHouse's SQL as the protocol needs: where an INSERT's data begin, and which FORMAT is asked.

Access of read-only users never rests on this module: `access` asks the engine's own parser.
"""

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from streams.local.clickhouse_server import errors

MAX_HEAD_BYTES: Final = 262_144
"""An INSERT's statement, without its data, is looked for in this many bytes; ClickHouse's max_query_size."""

_TOKEN = re.compile(
    rb"""(?P<space>[\s\0]+ | --[^\n]* | \#[\ !][^\n]* | /\*.*?\*/)
       | (?P<text>'(?:[^'\\]|\\.|'')*')
       | (?P<quoted>`(?:[^`\\]|\\.|``)*` | "(?:[^"\\]|\\.|"")*")
       | (?P<heredoc>\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
       | (?P<word>[A-Za-z_\x80-\xff][\w\x80-\xff]*)
       | (?P<number>\d[\w.]*)
       | (?P<sign>.)""",
    re.DOTALL | re.VERBOSE,
)
_SPACES = b" \t\f\v"


class Token(NamedTuple):
    kind: str
    text: bytes
    start: int
    end: int
    depth: int
    """Brackets around it; an opening or closing bracket counts as inside."""

    @property
    def word(self) -> str:
        """The keyword that this token may be, in capitals; empty if it is no bare word."""
        return self.text.decode("ascii", "replace").upper() if self.kind == "word" else ""


@dataclass(frozen=True)
class Insert:
    """An INSERT whose data follow its statement in `format`, from the byte `data` on."""

    head: bytes
    format: str | None
    data: int


@dataclass(frozen=True)
class Statement:
    """What the server must know of a statement that carries no data."""

    keyword: str
    format: str | None
    outfile: bool
    totals: bool
    several: bool


def tokens(sql: bytes) -> Iterator[Token]:
    """The tokens of `sql`, without space and comments. What doesn't end (a string, ...) comes as signs."""
    depth = 0
    for found in _TOKEN.finditer(sql):
        kind = found.lastgroup or "sign"
        if kind == "space":
            continue
        if found["heredoc"] is not None:
            kind = "text"
        text = found[0]
        if text in (b"(", b"[", b"{"):
            depth += 1
        yield Token(kind, text, found.start(), found.end(), depth)
        if text in (b")", b"]", b"}"):
            depth -= 1


def first_word(sql: bytes) -> str:
    """The statement's keyword in capitals: SELECT, INSERT, ... or ( for a statement in brackets."""
    for token in tokens(sql[:MAX_HEAD_BYTES]):
        return token.word or token.text.decode("latin-1")
    return ""


def statement(sql: bytes) -> Statement:
    """What `sql` is, unless it is an INSERT with data."""
    top = [token for token in tokens(sql) if token.depth == 0 or token.text in (b"(", b")")]
    end = len(top)
    while end and top[end - 1].text == b";":
        end -= 1
    top = top[:end]
    words = [token.word for token in top]
    pairs = set(itertools.pairwise(words))
    return Statement(
        keyword=(words[0] or top[0].text.decode("latin-1")) if top else "",
        format=_format_of(top, words),
        outfile=("INTO", "OUTFILE") in pairs,
        totals="TOTALS" in words,
        several=any(token.text == b";" for token in top),
    )


def _format_of(top: list[Token], words: list[str]) -> str | None:
    for i in range(len(top) - 2, 0, -1):
        named = words[i] == "FORMAT" and words[i + 1] and top[i - 1].text not in (b",", b".")
        if named and words[i - 1] != "AS" and (i + 2 == len(top) or words[i + 2] in ("SETTINGS", "INTO")):
            return top[i + 1].text.decode("ascii", "replace")
    return None


def insert(sql: bytes) -> Insert | None:
    """Where an INSERT's data begin in `sql` (its first bytes suffice); None for one that brings no data.

    Raises EngineError for the forms that only a client with files of its own can run.
    """
    end = Token("end", b"", len(sql), len(sql), 0)
    # One token at a time: what follows the statement are data, and to cut those into tokens took most of an insert.
    pairs = itertools.pairwise(itertools.chain(_after_target(sql[:MAX_HEAD_BYTES]), [end]))
    before = b""
    for token, following in pairs:
        if token.depth == 0 and token.word == "VALUES":
            return Insert(sql[: token.start], "Values", token.end)
        if token.depth == 0 and token.word == "FORMAT" and following.word:
            name = following.text.decode("ascii", "replace")
            return Insert(sql[: token.start], name, _data_from(sql, following.end))
        if token.depth == 0 and token.word == "FROM" and following.word == "INFILE":
            message = "INSERT FROM INFILE reads a client's file: send the data"
            raise errors.EngineError(errors.UNSUPPORTED_METHOD, message)
        opened = token.depth == 1 and before == b"("  # the SELECT may stand in brackets
        selects = token.word in ("SELECT", "WITH", "WATCH") and token.depth == 0
        if selects or (opened and token.word == "SELECT"):
            _refuse_input(pairs)
            return None
        before = token.text
    return Insert(sql, None, len(sql))


def split_settings(head: bytes) -> tuple[bytes, bytes]:
    """The head of an INSERT, cut before its SETTINGS clause; the second part is empty where it has none."""
    for token in _after_target(head):
        if token.depth == 0 and token.word == "SETTINGS":
            return head[: token.start], head[token.start :]
    return head, b""


def _after_target(sql: bytes) -> Iterator[Token]:
    """The tokens behind the table (or table function) that an INSERT names."""
    found = tokens(sql)
    target = next(found, None)
    while target is not None and target.word in ("INSERT", "INTO", "TABLE", "FUNCTION"):
        target = next(found, None)
    for token in found:
        if token.text == b".":
            next(found, None)  # a table's name may look like a keyword
        else:
            yield token


def _refuse_input(pairs: Iterable[tuple[Token, Token]]) -> None:
    """chdb takes INSERT ... SELECT ... FROM input(...), answers that all is well and inserts nothing."""
    for token, following in pairs:
        if token.word == "INPUT" and following.text == b"(":
            message = "the embedded engine has no input(): insert the data into a table, then select"
            raise errors.EngineError(errors.NOT_IMPLEMENTED, message)


def _data_from(sql: bytes, at: int) -> int:
    """The first byte of the data: behind spaces and one line's end."""
    while at < len(sql) and sql[at] in _SPACES:
        at += 1
    if sql[at : at + 1] == b"\r":
        at += 1
    return at + 1 if sql[at : at + 1] == b"\n" else at


def quote(text: str | bytes) -> bytes:
    """`text` as a string literal."""
    raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return b"'" + raw.replace(b"\\", b"\\\\").replace(b"'", b"\\'").replace(b"\0", b"\\0") + b"'"


def identifier(name: str) -> bytes:
    """`name` as a quoted identifier."""
    raw = name.encode("utf-8", "surrogateescape")
    return b"`" + raw.replace(b"\\", b"\\\\").replace(b"`", b"\\`").replace(b"\0", b"\\0") + b"`"
