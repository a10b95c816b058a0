"""Requests from a command line or a JSON Lines file, with errors that name the line and the field."""

import difflib
import json
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from schemas.records import Parameters, RequestEvent
from streams.cli.failure import BadInput

_FIELDS = {f.encode_name for f in msgspec.structs.fields(RequestEvent)}
_PARAMETERS = {f.encode_name for f in msgspec.structs.fields(Parameters)}
# Conveniences of the command line that stand for fields of a request.
_SHORTHANDS = {"deadline": "deadline_at", "max_tokens": "parameters", "temperature": "parameters"}
_MOST_FAULTS = 20


@dataclass(frozen=True)
class Given:
    """What the command line says; `fields` and `parameters` hold where a line doesn't say otherwise."""

    prompt: str | None
    file: Path | None
    fields: Mapping[str, str | None] = field(default_factory=dict)
    parameters: Mapping[str, float | None] = field(default_factory=dict)
    deadline_s: float | None = None


def requests(given: Given) -> list[RequestEvent]:
    """The requests to send. Raises BadInput with every fault of a file, or where there is nothing to send."""
    if (given.prompt is None) == (given.file is None):
        raise BadInput("give either a prompt or --file", 'sluice submit "Say hello" --tenant acme-lending')
    if given.file is not None:
        return _from_file(given.file, given)
    prompt = sys.stdin.read() if given.prompt == "-" else given.prompt or ""
    if not prompt.strip():
        raise BadInput("the prompt is empty", "give a text, or `-` to read it from stdin")
    if not given.fields.get("tenant"):
        raise BadInput("a request needs a tenant", "say --tenant; `sluice config show` lists the tenants")
    return [_request({"prompt": prompt}, given)]


def _from_file(path: Path, given: Given) -> list[RequestEvent]:
    if given.fields.get("id"):
        raise BadInput("--id is for a single request", 'in a file, give each line its "id"')
    found: list[RequestEvent] = []
    faults: list[str] = []
    for number, line in _lines(path):
        try:
            found.append(_parse(line, given))
        except ValueError as error:
            faults.append(f"{path}:{number}: {error}")
    if faults:
        more = f"\n... and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
        raise BadInput(
            "\n".join(faults[:_MOST_FAULTS]) + more, "nothing was sent; mend these lines and send again"
        )
    if not found:
        raise BadInput(
            f"{path} holds no requests", 'a line looks like {"tenant": "acme", "prompt": "Say hello"}'
        )
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text: {error}") from error
    # Not splitlines(): a prompt may hold other line separators of Unicode.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line


def _parse(line: str, given: Given) -> RequestEvent:
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at column {error.colno}") from None
    if not isinstance(values, dict):
        raise ValueError(f"a line is a JSON object, not {type(values).__name__}")
    if unknown := sorted(values.keys() - _FIELDS - _SHORTHANDS.keys()):
        raise ValueError(_unknown(unknown[0]))
    request = _request(values, given)
    if not request.tenant:
        raise ValueError('no "tenant" (or say --tenant for all lines)')
    if not (request.prompt or request.messages or request.content or request.prompt_template):
        raise ValueError('nothing to answer: give "prompt" or "messages"')
    return request


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, _FIELDS | _SHORTHANDS.keys(), n=1)
    return f"unknown field {name!r}" + (f": did you mean {close[0]!r}?" if close else "")


def _request(values: dict[str, Any], given: Given) -> RequestEvent:
    """A request from a line's values over those of the command line. Raises ValueError."""
    merged = {k: v for k, v in given.fields.items() if v is not None} | values
    own = merged.get("parameters") or {}
    if not isinstance(own, dict) or (wrong := sorted(own.keys() - _PARAMETERS)):
        raise ValueError(
            f"parameters: unknown field {wrong[0]!r}" if isinstance(own, dict) else "parameters: no object"
        )
    told = {k: v for k, v in given.parameters.items() if v is not None} | own
    told |= {k: merged.pop(k) for k in ("max_tokens", "temperature") if k in merged}
    if told:
        merged["parameters"] = told
    if (deadline := merged.pop("deadline", given.deadline_s)) is not None and "deadline_at" not in values:
        merged["deadline_at"] = _deadline(deadline)
    merged.setdefault("id", str(uuid.uuid4()))
    try:
        return msgspec.convert(merged, RequestEvent)
    except msgspec.ValidationError as error:
        raise ValueError(str(error).replace("Expected", "expected").replace(" - at `$.", ", in `")) from None


def _deadline(value: Any) -> int:
    """Milliseconds since the epoch from seconds from now (`30`, or `"5m"`)."""
    from streams.cli.commands.common import duration_s

    if isinstance(value, str):
        try:
            value = duration_s(value)
        except Exception as error:
            raise ValueError(f"deadline: {error}") from None
    if not isinstance(value, int | float):
        raise ValueError("deadline: give seconds, or a text such as 30s or 5m")
    return int((time.time() + value) * 1000)
