"""botocore's model of the service as the judge of what we send and of what the fixtures hold."""

import struct
import zlib
from functools import cache
from typing import Any
from urllib.parse import unquote

import botocore.session
import orjson
from botocore.parsers import RestJSONParser
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator

from processors.providers.base import HttpRequest
from processors.providers.bedrock.adapter import BedrockAdapter
from schemas.config import Model
from schemas.records import CallTask, RequestEvent
from tests.fuzz_providers import FIXTURES

HERE = FIXTURES / "bedrock"
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"


class Unlike(AssertionError):
    """Not what the service's model describes."""


@cache
def _operation(name: str) -> Any:
    return botocore.session.get_session().get_service_model("bedrock-runtime").operation_model(name)


def _read(shape: Any, value: Any) -> Any:
    """JSON as botocore reads it (base64 decoded, unknown fields left out), then checked. Raises Unlike."""
    seen = RestJSONParser()._parse_shape(shape, value)
    report = ParamValidator().validate(seen, shape)
    if report.has_errors():
        raise Unlike(report.generate_report())
    return seen


def check_event(name: str, payload: dict[str, Any]) -> None:
    """Raises Unlike where the service has no such event of a stream."""
    events = _operation("ConverseStream").output_shape.members["stream"].members
    if name not in events:
        raise Unlike(f"no event {name}")
    _read(events[name], payload)


def check_answer(body: dict[str, Any]) -> None:
    _read(_operation("Converse").output_shape, body)


def check_request(request: HttpRequest) -> None:
    """What botocore makes of what it has read must be the same request, to the letter of the path. Raises Unlike."""
    operation, body = _operation("ConverseStream"), orjson.loads(request.body)
    seen = _read(operation.input_shape, {**body, "modelId": _model_of(request.path)})
    made = create_serializer("rest-json", include_validation=True).serialize_to_request(seen, operation)
    if (made["method"], made["url_path"]) != (request.method, request.path):
        raise Unlike(f"{made['method']} {made['url_path']} is not {request.method} {request.path}")
    if orjson.loads(made["body"]) != body:
        raise Unlike(f"the vendor knows only {made['body']!r} of {request.body!r}")


def _model_of(path: str) -> str:
    return unquote(path.removeprefix("/model/").removesuffix("/converse-stream"))


def frame(name: str, payload: bytes, kind: str | None = None) -> bytes:
    """A frame of an event stream, as the service sends it."""
    kind = kind or ("exception" if name.endswith("Exception") else "event")
    told = {f":{kind}-type": name, ":content-type": "application/json", ":message-type": kind}
    headers = b"".join(
        bytes([len(k)]) + k.encode() + b"\x07" + struct.pack(">H", len(v)) + v.encode()
        for k, v in told.items()
    )
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return body + struct.pack(">I", zlib.crc32(body))


def events(name: str) -> list[tuple[str, bytes]]:
    """(event, its JSON) of a fixture: one event a line."""
    lines = (HERE / f"{name}.events").read_bytes().splitlines()
    return [(kind.decode(), payload) for kind, _, payload in (line.partition(b" ") for line in lines)]


def stream(name: str) -> bytes:
    """A fixture as the bytes of an event stream."""
    return b"".join(frame(kind, payload) for kind, payload in events(name))


def task(max_tokens: int = 4096, **fields: Any) -> CallTask:
    return CallTask(
        request_id="r", tenant="t", attempt=1, attempt_id="a", model="m", lane="standard", task_type="chat",
        accepted_at=0, deadline_at=1, issued_at=0, config_version="v", route_partition=0,
        input_tokens_estimate=7, max_output_tokens=max_tokens, request=RequestEvent(id="r", **fields),
    )  # fmt: skip


def encoded(
    vendor_model: str = CLAUDE, policy: str = "reject", max_tokens: int = 4096, **fields: Any
) -> HttpRequest:
    told = {"provider": "p", "vendor_model": vendor_model, "unsupported": policy}
    return BedrockAdapter().encode(task(max_tokens, **fields), Model.model_validate(told))


def body(*args: Any, **fields: Any) -> dict[str, Any]:
    """The body of the request, which botocore's model of the service has found good."""
    request = encoded(*args, **fields)
    check_request(request)
    sent: dict[str, Any] = orjson.loads(request.body)
    return sent
