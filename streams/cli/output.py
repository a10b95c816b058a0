"""How commands print: tables for people, one JSON object a line for programs (`--json`). Errors go to stderr.

rich is imported by what needs it: it costs more time than most commands.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console

    from streams.cli.failure import Failure

# Where nobody sees columns wrapped, lines are never cut.
_WIDE = 240

GOOD, BAD, MEH = "green", "red", "yellow"
STATUS_STYLES = {
    "succeeded": GOOD,
    "failed": BAD,
    "rejected": BAD,
    "expired": MEH,
    "cancelled": MEH,
    "running": GOOD,
    "ready": GOOD,
    "down": BAD,
    "restarting": MEH,
}


def console(*, stderr: bool = False) -> "Console":
    """A console on stdout (or stderr) that keeps whole lines when it isn't a terminal."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    if stream.isatty():
        return Console(stderr=stderr, highlight=False)
    return Console(stderr=stderr, highlight=False, width=_WIDE, soft_wrap=True)


def emit(value: Mapping[str, Any]) -> None:
    """One JSON object on a line of its own, flushed, so that a pipe sees it at once."""
    sys.stdout.write(json.dumps(value, default=plain, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def plain(value: object) -> object:
    """A value that JSON doesn't know as one that it does: bytes as text or `base64:...`, decimals as text."""
    import base64

    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return "base64:" + base64.b64encode(value).decode()
    return str(value)


def table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table. A column named with a leading `>` is aligned right; None is shown as `-`."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, title_style="bold")
    for name in columns:
        justify: Literal["left", "right"] = "right" if name.startswith(">") else "left"
        shown.add_column(name.removeprefix(">"), justify=justify, overflow="fold")
    for row in rows:
        shown.add_row(*(Text(_cell(v), style=STATUS_STYLES.get(_cell(v), "")) for v in row))
    console().print(shown)


def facts(title: str, pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one pair a line; None is shown as `-`."""
    from rich.table import Table
    from rich.text import Text

    shown = Table.grid(padding=(0, 2))
    shown.add_column()
    shown.add_column(overflow="fold")
    for name, value in pairs:
        shown.add_row(Text(name, style="dim"), Text(_cell(value)))
    say(title, "bold")
    console().print(shown)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else str(plain(value))


def say(text: str, style: str = "") -> None:
    """One line for people on stdout. `text` is printed as it is, without markup."""
    from rich.text import Text

    console().print(Text(text, style=style))


def say_ids(wrong: Mapping[str, Sequence[str]], most: int = 20) -> None:
    """What is wrong, with the ids that it is about."""
    for what, ids in wrong.items():
        more = f" and {len(ids) - most} more" if len(ids) > most else ""
        say(f"  {what}: {', '.join(ids[:most])}{more}", BAD)


def note(text: str) -> None:
    """One line for people on stderr, so that a program reading stdout doesn't meet it."""
    print(text, file=sys.stderr, flush=True)


def failure(error: "Failure") -> None:
    """The error in one line and its remedy in the next, on stderr."""
    if not error.message:
        return
    red, dim, off = ("\x1b[31m", "\x1b[2m", "\x1b[0m") if sys.stderr.isatty() else ("", "", "")
    print(f"{red}error:{off} {error.message}", file=sys.stderr)
    if error.hint:
        print(f"{dim}  fix:{off} {error.hint}", file=sys.stderr)


def clock(ms: int | None) -> str:
    """Milliseconds since the epoch as local time of day with milliseconds, or `-`."""
    if ms is None:
        return "-"
    return datetime.fromtimestamp(ms / 1000).strftime("%H:%M:%S.%f")[:-3]


def moment(ms: int | None) -> str:
    """Milliseconds since the epoch as an ISO 8601 time in UTC, or `-`."""
    if ms is None:
        return "-"
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def short(text: str | None, width: int = 60) -> str:
    """The first characters of a text on one line."""
    line = " ".join((text or "").split())
    return line if len(line) <= width else line[: width - 1] + "…"


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return ""
