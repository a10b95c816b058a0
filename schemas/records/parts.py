"""What the events are made of: no topic carries one of these alone."""

import msgspec


class ContentPart(msgspec.Struct, kw_only=True):
    type: str
    text: str | None = None
    uri: str | None = None
    sha256: str | None = None
    media_type: str | None = None
    data: bytes | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    arguments: str | None = None
    is_error: bool | None = None
    signature: str | None = None
    cache: str | None = None
    id: str | None = None


class Message(msgspec.Struct, kw_only=True):
    role: str
    content: list[ContentPart] = []
    name: str | None = None


class Parameters(msgspec.Struct, kw_only=True):
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: list[str] = []
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    reasoning_effort: str | None = None
    service_tier: str | None = None
    extra: dict[str, str] = {}
    top_k: int | None = None
    reasoning_budget: int | None = None


class ResponseFormat(msgspec.Struct, kw_only=True):
    type: str
    name: str | None = None
    json_schema: str | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, kw_only=True):
    name: str
    description: str | None = None
    input_schema: str = "{}"


class Problem(msgspec.Struct, kw_only=True):
    """Why a request is refused: `code` for programs, `message` for people (says what to fix)."""

    code: str
    message: str
    field: str | None = None


class Usage(msgspec.Struct, kw_only=True):
    input_uncached: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    output: int | None = None
    reasoning: int | None = None
    estimated: bool = False
    raw: str | None = None
    cache_write_1h: int | None = None
    tool_input: int | None = None
    image_input: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    service_tier: str | None = None


class ErrorInfo(msgspec.Struct, kw_only=True):
    error_class: str
    message: str
    retriable: bool = False
    maybe_paid: bool = False
    retry_after_ms: int | None = None


class Timings(msgspec.Struct, kw_only=True):
    accepted_at: int
    issued_at: int | None = None
    started_at: int | None = None
    first_token_at: int | None = None
    completed_at: int | None = None


class Header(msgspec.Struct, kw_only=True):
    key: str
    value: bytes | None = None
