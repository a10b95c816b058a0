"""Google's own SDK as the judge: of what we send, of what the fixtures hold, and of what an answer says.

Its types have almost no required fields. What the API's reference calls required stands in their descriptions, and
what an answer always has is named here.
"""

import re
from functools import lru_cache
from typing import Any, Final

import httpx
import orjson
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from processors.providers.base import HttpRequest
from processors.providers.gemini.adapter import GeminiAdapter, VertexAdapter
from schemas.config import Model
from schemas.records import CallTask, RequestEvent

_DATA: Final = ("text", "inline_data", "file_data", "function_call", "function_response", "executable_code",
                "code_execution_result", "tool_call", "tool_response")  # fmt: skip
_CAMEL: Final = re.compile(r"_([a-z])")
_SNAKE: Final = re.compile(r"(?<!^)(?=[A-Z])")


def check_chunk(chunk: dict[str, Any]) -> types.GenerateContentResponse:
    """Raises ValidationError for an unknown field or a wrong type, AssertionError for what is missing."""
    seen = types.GenerateContentResponse.model_validate(chunk)
    _nothing_missing(seen)
    assert seen.response_id and seen.model_version and seen.usage_metadata
    assert seen.candidates or (seen.prompt_feedback and seen.prompt_feedback.block_reason)
    for candidate in seen.candidates or ():
        assert candidate.content or candidate.finish_reason
        if candidate.content is not None:
            assert candidate.content.role == "model" and candidate.content.parts
        for part in (candidate.content and candidate.content.parts) or ():
            assert sum(getattr(part, name) is not None for name in _DATA) == 1
            assert part.function_call is None or part.function_call.name
    return seen


def check_stream(chunks: list[dict[str, Any]]) -> None:
    """Every chunk, and that the last one ends the answer and tells its usage."""
    last = [check_chunk(chunk) for chunk in chunks][-1]
    if last.prompt_feedback is None:
        assert last.candidates and last.candidates[0].finish_reason
    usage = last.usage_metadata
    assert usage is not None and usage.prompt_token_count is not None and usage.total_token_count is not None


def check_error(status: int, body: Any) -> None:
    seen = errors.APIError(0, body)
    assert (seen.code, bool(seen.status), bool(seen.message)) == (status, True, True)


def _nothing_missing(value: Any, path: str = "") -> None:
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            held = getattr(value, name)
            needed = (field.description or "").startswith("Required.")
            assert not needed or held is not None, f"{path}.{name} is required"
            _nothing_missing(held, f"{path}.{name}")
    elif isinstance(value, list):
        for at, item in enumerate(value):
            _nothing_missing(item, f"{path}[{at}]")


def check_request(sent: HttpRequest, *, vertex: bool = False) -> dict[str, Any]:
    """The body, which the SDK reads whole and would itself send so, to the same path. Raises where not."""
    body: dict[str, Any] = orjson.loads(sent.body)
    told = dict(body)
    contents = [types.Content.model_validate(content) for content in told.pop("contents")]
    config = {_snake(name): value for name, value in told.pop("generationConfig").items()}
    if "systemInstruction" in told:
        config["system_instruction"] = types.Content.model_validate(told.pop("systemInstruction"))
    config.update({_snake(name): value for name, value in told.items()})
    wanted = types.GenerateContentConfig.model_validate(config)
    _nothing_missing([*contents, wanted])
    path, theirs = _sent_by_sdk(sent.path, contents, wanted, vertex)
    assert _normal(theirs) == _normal(body)
    assert path.endswith(sent.path), (path, sent.path)
    return body


def _sent_by_sdk(
    path: str, contents: list[types.Content], config: types.GenerateContentConfig, vertex: bool
) -> tuple[str, Any]:
    model = path.rpartition("/")[2].partition(":")[0]
    client, wire = _client(vertex)
    wire.answer = b""
    list(client.models.generate_content_stream(model=model, contents=list(contents), config=config))
    assert wire.request is not None
    return str(wire.request.url), orjson.loads(wire.request.content)


class _Wire:
    """What stands where Google would: keeps the request, gives the answer."""

    def __init__(self) -> None:
        self.answer = b""
        self.request: httpx.Request | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.request = request
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=self.answer)


@lru_cache(maxsize=2)
def _client(vertex: bool) -> tuple[genai.Client, _Wire]:
    wire = _Wire()
    options = types.HttpOptions(client_args={"transport": httpx.MockTransport(wire)})
    return genai.Client(vertexai=vertex, api_key="k", http_options=options), wire


def _snake(name: str) -> str:
    return _SNAKE.sub("_", name).lower()


def _normal(value: Any) -> Any:
    """Names in one of Google's two spellings, which the SDK mixes; base64 in one of its two alphabets."""
    if isinstance(value, dict) and "tools" in value:  # in an order of the SDK's own
        value = {**value, "tools": sorted(value["tools"], key=list)}
    if isinstance(value, dict):
        return {
            _CAMEL.sub(lambda found: found[1].upper(), name): _normal(item) for name, item in value.items()
        }
    if isinstance(value, list):
        return [_normal(item) for item in value]
    return value.replace("-", "+").replace("_", "/") if isinstance(value, str) else value


def read_by_sdk(stream: bytes, *, vertex: bool = False) -> list[types.GenerateContentResponse]:
    """A stream as the SDK gives it to its caller."""
    client, wire = _client(vertex)
    wire.answer = stream
    return list(client.models.generate_content_stream(model="gemini-2.5-flash", contents="x"))


def task(max_tokens: int = 4096, **fields: Any) -> CallTask:
    return CallTask(
        request_id="r", tenant="t", attempt=1, attempt_id="a", model="m", lane="standard", task_type="chat",
        accepted_at=0, deadline_at=1, issued_at=0, config_version="v", route_partition=0,
        input_tokens_estimate=7, max_output_tokens=max_tokens, request=RequestEvent(id="r", **fields),
    )  # fmt: skip


def model_of(vendor_model: str, policy: str = "reject") -> Model:
    return Model.model_validate({"provider": "p", "vendor_model": vendor_model, "unsupported": policy})


def encoded(
    vendor_model: str = "gemini-2.5-flash", policy: str = "reject", *, vertex: bool = False, **fields: Any
) -> HttpRequest:
    adapter = VertexAdapter() if vertex else GeminiAdapter()
    return adapter.encode(task(**fields), model_of(vendor_model, policy))


def body(
    vendor_model: str = "gemini-2.5-flash", policy: str = "reject", *, vertex: bool = False, **fields: Any
) -> dict[str, Any]:
    """The body of a request; it has passed the SDK."""
    return check_request(encoded(vendor_model, policy, vertex=vertex, **fields), vertex=vertex)
