"""JSON texts of a request read and written, with errors that name the place. Shared by the adapters."""

from typing import Any

import orjson

from schemas.signals import Invalid


def read(text: str, place: str) -> Any:
    """What a JSON text says; `place` names it in errors. Raises signals.Invalid."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Invalid("invalid_request", f"{place} is not valid JSON: {error}") from error


def read_object(text: str, place: str) -> dict[str, Any]:
    """As `read`, where only an object will do."""
    value = read(text, place)
    if not isinstance(value, dict):
        raise Invalid("invalid_request", f"{place} must be a JSON object")
    return value


def join(body: dict[str, Any], more: dict[str, Any]) -> None:
    """Put a vendor's own parameters into a body: they replace ours, but lists are added and objects joined."""
    for name, value in more.items():
        ours = body.get(name)
        if isinstance(ours, dict) and isinstance(value, dict):
            value = {**ours, **value}
        elif isinstance(ours, list) and isinstance(value, list):
            value = ours + value
        body[name] = value


def write(body: dict[str, Any]) -> bytes:
    """The body as JSON. orjson reads deeper nesting than it writes: what was valid JSON may fail here."""
    try:
        return orjson.dumps(body)
    except TypeError as error:
        raise Invalid("invalid_request", f"the request can't be written as JSON: {error}") from error
