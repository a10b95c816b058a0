"""What the commands' signatures share."""

from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import typer

T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]
TenantOption = Annotated[str | None, typer.Option("--tenant", "-t", help="Only this tenant's.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Why, for the audit trail.")]

RUN, WORK, MEND, SET = "Run", "Requests and results", "Mend", "Settings and switches"


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine to its end."""
    import asyncio

    return asyncio.run(work)


def duration_s(text: str | None) -> float | None:
    """Seconds from `90`, `30s`, `5m`, `2h` or `1d`; None stays None."""
    if text is None:
        return None
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, factor = (text[:-1], units[text[-1]]) if text and text[-1] in units else (text, 1)
    try:
        return float(number) * factor
    except ValueError:
        raise typer.BadParameter(f"{text!r} isn't a time such as 90, 30s, 5m, 2h or 1d") from None
