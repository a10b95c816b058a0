"""What vendors tell in an answer's head alone. Header names are in lower case. See waits.py for the waits."""

from collections.abc import Mapping
from typing import Final

import orjson

from processors.providers.bounds import LONGEST_TIER

_ERROR_NAME: Final = "x-amzn-errortype"
_SERVED_TIER: Final = "x-gemini-service-tier"


def with_error_name(body: bytes, headers: Mapping[str, str]) -> bytes:
    """An error's body with its name where AWS's other errors have it: often it tells it in a header alone."""
    name = headers.get(_ERROR_NAME)
    if name is None:
        return body
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    return orjson.dumps({"__type": name.partition(":")[0], **told}) if isinstance(told, dict) else body


def served_tier(headers: Mapping[str, str]) -> str | None:
    """The service tier at which the call is served: the Gemini API tells it here."""
    return headers.get(_SERVED_TIER, "")[:LONGEST_TIER].lower() or None
