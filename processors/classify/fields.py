"""Checks of everything about a request but its content: names, labels, times, numbers, permissions."""

import re
from decimal import Decimal
from typing import Final

from processors.classify.problems import Problems, has_control, shown
from schemas.config import Config, Tenant
from schemas.names import LANES
from schemas.records import Parameters, RequestEvent

_MAX_LABELS: Final = 32
_MAX_LABEL_CHARS: Final = 64
_MAX_VALUE_CHARS: Final = 256
_MAX_STOPS: Final = 16
_MAX_EXTRA: Final = 32
_MAX_TOKENS: Final = 10_000_000
_FIRST_PLAUSIBLE_MS: Final = 10**11
_CACHE: Final = ("off", "read", "write", "read_write")
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_MAX_TRACESTATE: Final = 512
_SHORT_TEXTS: Final = (
    "id", "application", "user", "purpose", "session_id", "output_type", "task_type", "model",
    "experiment_key", "reply_topic", "idempotency_key", "workflow_name", "workflow_id", "workflow_step",
    "parent_request_id",
)  # fmt: skip
_OURS: Final = frozenset(
    {
        "model", "messages", "input", "prompt", "system", "stream", "stream_options", "max_tokens",
        "max_completion_tokens", "max_output_tokens", "n", "best_of", "tools", "tool_choice", "response_format",
        "functions", "function_call", "contents", "system_instruction", "systemInstruction", "generation_config",
        "generationConfig", "inferenceConfig", "candidateCount", "max_tokens_to_sample", "toolConfig",
        "tool_config",
    }
)  # fmt: skip
"""Vendor parameters that Sluice sets itself, and their former names: one smuggled in could cost more than was
reserved."""
_NO_TEMPLATES: Final = "prompt templates are not available: send the filled-in text as prompt or messages"
_NOT_YET: Final = (
    ("prompt_template", _NO_TEMPLATES),
    ("prompt_template_version", _NO_TEMPLATES),
    ("prompt_variables", _NO_TEMPLATES),
    ("workflow_name", "workflows are not available: leave it out and send each step as a request of its own"),
)
"""Fields that change what a request means, which nothing obeys yet."""


def check_fields(
    event: RequestEvent, config: Config, tenant: Tenant, accepted_at: int, problems: Problems
) -> None:
    """Note every problem outside of the content."""
    for name in _SHORT_TEXTS:
        problems.text(name, getattr(event, name))
    problems.choice("lane", event.lane, LANES)
    problems.choice("cache", event.cache, _CACHE)
    _check_labels(event, config, problems)
    _check_metadata(event.metadata, config.limits.max_metadata_entries, problems)
    _check_deadline(event.deadline_at, config.limits.max_deadline_s, accepted_at, problems)
    problems.number("target_latency_ms", event.target_latency_ms, 1, 10**10)
    problems.number("quality_floor", event.quality_floor, 0, 1)
    if event.max_cost is not None and not _is_cost(event.max_cost):
        message = (
            "max_cost is out of range: give US dollars from 0 to 999999999, with at most 9 decimal places"
        )
        problems.add("out_of_range", "max_cost", message, clear=True)
    if event.reply_topic is not None and event.reply_topic not in tenant.reply_topics:
        message = (
            f"reply_topic {shown(event.reply_topic)} is not allowed for tenant {event.tenant}: "
            "leave it out, or add it to the tenant's reply_topics in the configuration"
        )
        problems.add("reply_topic_not_allowed", "reply_topic", message, clear=True)
    if event.stream_deltas and event.reply_topic is None:
        message = "stream_deltas needs a reply_topic to publish deltas to: name one, or leave it out"
        problems.add("no_reply_topic", "stream_deltas", message, clear=True)
    for name, message in _NOT_YET:
        if getattr(event, name) not in (None, False, {}):
            problems.add("unsupported", name, message, clear=True)
    if event.parameters is not None:
        _check_parameters(event.parameters, problems)


def usable_trace(event: RequestEvent) -> tuple[str | None, str | None]:
    """The trace context of a request; a broken one is ignored, as W3C Trace Context asks for."""
    if event.traceparent is None or not _TRACEPARENT.fullmatch(event.traceparent):
        return None, None
    state = event.tracestate
    fits = state is not None and len(state) <= _MAX_TRACESTATE and not has_control(state)
    return event.traceparent, state if fits else None


def _check_labels(event: RequestEvent, config: Config, problems: Problems) -> None:
    lists = (
        ("tags", event.tags, config.limits.max_tags, _MAX_LABEL_CHARS),
        ("data_classes", event.data_classes, _MAX_LABELS, _MAX_LABEL_CHARS),
        ("candidate_models", event.candidate_models, _MAX_LABELS, _MAX_VALUE_CHARS),
    )
    for field, labels, most, chars in lists:
        if len(labels) > most:
            message = f"{len(labels)} {field}; at most {most} are allowed: send fewer"
            problems.add("too_many", field, message, clear=True)
            continue
        for at, label in enumerate(labels):
            problems.text(f"{field}[{at}]", label, chars)


def _check_metadata(metadata: dict[str, str], most: int, problems: Problems) -> None:
    if len(metadata) > most:
        message = f"metadata has {len(metadata)} entries; at most {most} are allowed: send fewer"
        problems.add("metadata_too_large", "metadata", message, clear=True)
        return
    for key, value in metadata.items():
        if not 0 < len(key) <= _MAX_LABEL_CHARS or has_control(key):
            message = (
                f"metadata key {shown(key)}: use 1 to {_MAX_LABEL_CHARS} characters, no control characters"
            )
            problems.add("metadata_too_large", "metadata", message, clear=True)
        if len(value) > _MAX_VALUE_CHARS:
            message = (
                f"metadata value of {shown(key)} has {len(value)} characters; "
                f"at most {_MAX_VALUE_CHARS} are allowed: shorten it"
            )
            problems.add("metadata_too_large", "metadata", message, clear=True)


def _check_deadline(deadline_at: int | None, max_s: int, accepted_at: int, problems: Problems) -> None:
    """A deadline in the past is valid: such a request expires. One that can't be meant is a problem."""
    if deadline_at is None:
        return
    if deadline_at < _FIRST_PLAUSIBLE_MS:
        message = f"deadline_at is {deadline_at}: give milliseconds since 1970 UTC (is it in seconds?)"
        problems.add("impossible_deadline", "deadline_at", message, clear=True)
    elif deadline_at > accepted_at + max_s * 1000:
        message = (
            f"deadline_at is {(deadline_at - accepted_at) // 1000} s after acceptance; "
            f"at most {max_s} s are allowed: give a nearer one, in milliseconds since 1970 UTC"
        )
        problems.add("impossible_deadline", "deadline_at", message, clear=True)


def _check_parameters(parameters: Parameters, problems: Problems) -> None:
    problems.number("parameters.temperature", parameters.temperature, 0, 2)
    problems.number("parameters.top_p", parameters.top_p, 0, 1)
    problems.number("parameters.max_tokens", parameters.max_tokens, 1, _MAX_TOKENS)
    problems.number("parameters.top_k", parameters.top_k, 1, _MAX_TOKENS)
    problems.number("parameters.reasoning_budget", parameters.reasoning_budget, 0, _MAX_TOKENS)
    problems.number("parameters.frequency_penalty", parameters.frequency_penalty, -2, 2)
    problems.number("parameters.presence_penalty", parameters.presence_penalty, -2, 2)
    problems.text("parameters.reasoning_effort", parameters.reasoning_effort, _MAX_LABEL_CHARS)
    problems.text("parameters.service_tier", parameters.service_tier, _MAX_LABEL_CHARS)
    if len(parameters.stop) > _MAX_STOPS:
        message = f"{len(parameters.stop)} stop texts; at most {_MAX_STOPS} are allowed: send fewer"
        problems.add("too_many", "parameters.stop", message)
    elif not all(0 < len(stop) <= _MAX_VALUE_CHARS for stop in parameters.stop):
        message = f"a stop text is empty or longer than {_MAX_VALUE_CHARS} characters: mend it"
        problems.add("invalid_parameter", "parameters.stop", message)
    if len(parameters.extra) > _MAX_EXTRA:
        message = f"{len(parameters.extra)} extra parameters; at most {_MAX_EXTRA} are allowed: send fewer"
        problems.add("too_many", "parameters.extra", message)
        return
    for key, value in parameters.extra.items():
        if key in _OURS:
            message = f"extra parameter {key!r} is set by Sluice: use the request's own fields for it"
            problems.add("invalid_parameter", "parameters.extra", message)
        elif not 0 < len(key) <= _MAX_LABEL_CHARS or has_control(key):
            message = (
                f"extra parameter {shown(key)}: its name has no 1 to {_MAX_LABEL_CHARS} plain characters"
            )
            problems.add("invalid_parameter", "parameters.extra", message)
        else:
            problems.json(f"parameters.extra.{key}", value)


def _is_cost(cost: Decimal) -> bool:
    """True for what Avro's decimal(18, 9) can hold."""
    if not cost.is_finite() or not 0 <= cost < 10**9:
        return False
    exponent = cost.normalize().as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -9
