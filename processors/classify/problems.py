"""Collecting what is wrong with a request, so that its author learns of everything at once."""

import math
import re
from collections.abc import Iterable
from typing import Any, Final

import orjson

from schemas.records import Problem

NAME_CHARS: Final = 256
_SHOWN_CHARS: Final = 80
_MOST: Final = 50
_MOST_NESTED: Final = 64
_NESTS: Final = (dict, list)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Problems:
    """The problems of one request, at most 50; `cleared` are the fields whose value must not travel on."""

    def __init__(self) -> None:
        self.found: list[Problem] = []
        self.cleared: set[str] = set()

    def add(self, code: str, field: str, message: str, clear: bool = False) -> None:
        """Note a problem. `clear`: the value is unfit to be echoed (too long, not allowed)."""
        if len(self.found) < _MOST:
            self.found.append(Problem(code=code, field=field, message=message))
        if clear:
            self.cleared.add(field.partition(".")[0].partition("[")[0])

    def text(self, field: str, value: str | None, most: int = NAME_CHARS) -> None:
        """Check a short text: its length and that it holds no control characters."""
        if value is None:
            return
        if len(value) > most:
            message = f"{field} has {len(value)} characters; at most {most} are allowed: shorten it"
            self.add("too_long", field, message, clear=True)
        elif has_control(value):
            message = f"{field} {shown(value)} holds a control character: remove it"
            self.add("control_character", field, message, clear=True)

    def number(self, field: str, value: float | None, least: float, most: float) -> None:
        """Check that a number lies in [least, most]; NaN and infinities don't."""
        if value is None or least <= value <= most:
            return
        bounds = f"from {least:g} to {most:g}" if math.isfinite(most) else f"of at least {least:g}"
        self.add("out_of_range", field, f"{field} is {value:g}: give a number {bounds}", clear=True)

    def choice(self, field: str, value: str | None, allowed: tuple[str, ...]) -> None:
        """Check that a text is one of those allowed."""
        if value is not None and value not in allowed:
            message = f"{field} is {shown(value)}: use one of {', '.join(allowed)}"
            self.add("unknown_value", field, message, clear=True)

    def json(self, field: str, text: str) -> Any:
        """The value of a JSON text, None (and a problem) where it isn't one, or is nested too deeply to travel on."""
        try:
            value = orjson.loads(text)
        except ValueError as error:
            self.add("invalid_json", field, f"{field} is not valid JSON ({error}): send a JSON text")
            return None
        if not _is_nested_within(value, _MOST_NESTED):
            message = f"{field} is nested deeper than {_MOST_NESTED} levels: flatten it"
            self.add("too_deep", field, message)
            return None
        return value


def _is_nested_within(value: Any, most: int) -> bool:
    """True where no more than `most` objects and lists lie within each other. A loop, as depth is the danger."""
    level = [value] if isinstance(value, _NESTS) else []
    for _ in range(most):
        level = [child for each in level for child in _children(each) if isinstance(child, _NESTS)]
        if not level:
            return True
    return False


def _children(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def has_control(text: str) -> bool:
    """True where the text holds a control character (C0, DEL, C1)."""
    return _CONTROL.search(text) is not None


def shown(text: str) -> str:
    """A text as messages quote it: escaped, and cut where it is long."""
    return repr(text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "...")
