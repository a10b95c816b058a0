"""Providers as others imitate them: every wire that the simulators speak, with every fault that they offer.

One call each, made as the call workers make it: what comes of it, what is billed, and that there was one call.
"""

import json
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.provider_proofs import SIMULATED
from tests.simulators.asking import INPUT_ESTIMATE, LOOK, Asked, ask
from tests.simulators.servers import aimock, llmock

Wire = tuple[dict[str, Any], str, str]
KEY: Final = {"api_key": "env:KEY"}
CLAUDE: Final = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
# By name of the wire: the provider, where it is below the simulator's address, the vendor's model.
LLMOCK: Final[dict[str, Wire]] = {
    "openai": ({"kind": "openai", **KEY}, "/v1", "gpt-4.1"),
    "openai-responses": ({"kind": "openai-responses", **KEY}, "/v1", "gpt-4.1"),
    "anthropic": ({"kind": "anthropic", **KEY}, "/anthropic", "claude-sonnet-4-5"),
    "gemini": ({"kind": "gemini", **KEY}, "/gemini/v1beta", "gemini-2.5-flash"),
    "cohere": ({"kind": "cohere", **KEY}, "/cohere/v2", "command-a-03-2025"),
    "mistral": ({"kind": "mistral", **KEY}, "/mistral/v1", "mistral-large-latest"),
    "groq": ({"kind": "openai", "preset": "groq", **KEY}, "/groq/openai/v1", "llama-3.3-70b-versatile"),
    "together": ({"kind": "openai", "preset": "together", **KEY}, "/together/v1", "some-model"),
    "xai": ({"kind": "openai", "preset": "xai", **KEY}, "/xai/v1", "grok-4"),
}
AIMOCK: Final[dict[str, Wire]] = {
    "openai": ({"kind": "openai", **KEY}, "/v1", "gpt-4.1"),
    "openai-responses": ({"kind": "openai-responses", **KEY}, "/v1", "gpt-4.1"),
    "azure": ({"kind": "azure", "api_version": "2024-10-21", **KEY}, "", "gpt-4.1"),
    "anthropic": ({"kind": "anthropic", **KEY}, "", "claude-sonnet-4-5"),
    "gemini": ({"kind": "gemini", **KEY}, "/v1beta", "gemini-2.5-flash"),
    "vertex": ({"kind": "vertex", "auth": "none"}, "/v1/projects/p/locations/l", "gemini-2.5-flash"),
    "bedrock": ({"kind": "bedrock", **KEY}, "", CLAUDE),
    "cohere": ({"kind": "cohere", **KEY}, "/v2", "command-a-03-2025"),
    "openrouter": ({"kind": "openai", "preset": "openrouter", **KEY}, "/api/v1", "openai/gpt-4.1"),
}
# (error class, may be made again at once, may have been paid, the wait that it asks for in milliseconds)
Expected = tuple[str, bool, bool, int | None]
LLMOCK_FAULTS: Final[dict[str, tuple[dict[str, Any], Expected]]] = {
    "429": ({"type": "fail", "status": 429, "retry_after": 2}, ("rate_limited", True, False, 2000)),
    "503": ({"type": "fail", "status": 503, "retry_after": 1}, ("overloaded", True, False, 1000)),
    "529": ({"type": "fail", "status": 529, "retry_after": 1}, ("overloaded", True, False, 1000)),
    "500": ({"type": "fail", "status": 500}, ("provider_error", False, True, None)),
    "401": ({"type": "fail", "status": 401}, ("auth", False, False, None)),
    "400": ({"type": "fail", "status": 400}, ("invalid_request", False, False, None)),
    "404": ({"type": "fail", "status": 404}, ("no_such_model", False, False, None)),
    "disconnect": ({"type": "stream_fault", "kind": "disconnect"}, ("truncated", False, True, None)),
    "truncate": ({"type": "stream_fault", "kind": "truncate"}, ("truncated", False, True, None)),
    "malformed": ({"type": "stream_fault", "kind": "malformed"}, ("provider_error", False, True, None)),
    "stall": (
        {"type": "stream_fault", "kind": "stall", "stall_seconds": 60, "after_chunks": 5},
        ("timeout_idle", False, True, None),
    ),
    "first token": ({"type": "slow_first_token", "seconds": 60}, ("timeout_first_token", False, True, None)),
}
# The prompt that makes aimock do it, or the header.
AIMOCK_FAULTS: Final[dict[str, Expected]] = {
    "status 429": ("rate_limited", True, False, 3000),
    "status 503": ("overloaded", True, False, None),
    "status 529": ("overloaded", True, False, None),
    "status 401": ("auth", False, False, None),
    "truncate": ("truncated", False, True, None),
    "cut": ("truncated", False, True, None),
    "stall": ("timeout_first_token", False, True, None),
    "x-aimock-chaos-drop": ("provider_error", False, True, None),
    "x-aimock-chaos-malformed": ("provider_error", False, True, None),
    "x-aimock-chaos-disconnect": ("connection", False, True, None),
    "x-aimock-chaos-ratelimit": ("rate_limited", True, False, 1000),
}


@pytest.fixture(scope="module")
def llmock_url() -> Iterator[str]:
    with llmock() as url:
        yield url


@pytest.fixture(scope="module")
def aimock_url() -> Iterator[str]:
    with aimock() as url:
        yield url


def http(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


async def at_llmock(url: str, name: str, fault: dict[str, Any] | None, prompt: str, **options: Any) -> Asked:
    """One call at llmock, which it has counted."""
    provider, path, model = LLMOCK[name]
    http(f"{url}/_llmock/reset", {})
    if fault is not None:
        http(f"{url}/_llmock/scenario", {"behaviors": [fault]})
    asked = await ask({**provider, "base_url": url + path}, model, prompt, **options)
    assert http(f"{url}/_llmock/requests")["count"] == 1, "the provider was called once"
    return asked


async def at_aimock(url: str, name: str, prompt: str, headers: dict[str, str], **options: Any) -> Asked:
    """One call at aimock, which it has counted."""
    provider, path, model = AIMOCK[name]
    test = uuid.uuid4().hex
    headers = {**headers, "x-test-id": test}
    asked = await ask({**provider, "base_url": url + path, "headers": headers}, model, prompt, **options)
    seen = http(f"{url}/__aimock/journal?testId={test}")
    assert len(seen) == 1, "the provider was called once"
    return asked


def failed_so(asked: Asked) -> Expected:
    """How the call failed. What may have been paid must be billed, estimated where it must be."""
    assert asked.failure is not None, asked.answer
    error = asked.failure.error
    told = (error.error_class, asked.failure.repeatable, error.maybe_paid, error.retry_after_ms)
    if not error.maybe_paid:
        assert asked.usage is None, "nothing was paid"
        return told
    usage = asked.usage
    assert usage is not None and usage.estimated and usage.output is not None
    assert usage.input_uncached is not None and 0 <= usage.input_uncached <= INPUT_ESTIMATE
    said = sum(len(delta.text) for delta in asked.deltas)
    assert usage.output >= said // 4, "what came is billed"
    return told


@pytest.mark.parametrize("name", LLMOCK)
async def test_llmock_answers(llmock_url: str, name: str) -> None:
    asked = await at_llmock(llmock_url, name, None, "Say hello.")
    assert asked.answer is not None, asked.failure
    assert (
        asked.text and asked.text == "".join(delta.text for delta in asked.deltas) and len(asked.deltas) > 1
    )
    assert asked.answer.finish_reason == "stop" and asked.answer.finish_reason_raw
    if "usage" in SIMULATED[name]:
        assert asked.usage is not None and not asked.usage.estimated
        assert (asked.usage.input_uncached or 0) > 0 and (asked.usage.output or 0) > 0
    else:
        assert asked.usage is None, "it tells none here"


@pytest.mark.parametrize("name", LLMOCK)
async def test_llmock_calls_a_tool(llmock_url: str, name: str) -> None:
    asked = await at_llmock(llmock_url, name, None, "Look up 1.", tools=[LOOK])
    called(asked, {"a": 1})
    assert asked.answer is not None and asked.answer.finish_reason == "tool_call"


@pytest.mark.parametrize("name", LLMOCK)
async def test_a_slow_first_token_is_waited_for(llmock_url: str, name: str) -> None:
    asked = await at_llmock(llmock_url, name, {"type": "slow_first_token", "seconds": 0.2}, "hi", idle_s=0.1)
    assert asked.answer is not None and asked.first_token_s is not None and asked.first_token_s >= 0.2


@pytest.mark.parametrize("fault", LLMOCK_FAULTS)
@pytest.mark.parametrize("name", LLMOCK)
async def test_llmock_faults(llmock_url: str, name: str, fault: str) -> None:
    behaviour, expected = LLMOCK_FAULTS[fault]
    if behaviour["type"] == "stream_fault":
        behaviour = {"after_chunks": 3, **behaviour}
    limits = {"stall": {"idle_s": 0.2}, "first token": {"first_token_s": 0.2}}
    asked = await at_llmock(llmock_url, name, behaviour, "Say hello to all of them.", **limits.get(fault, {}))
    assert failed_so(asked) == expected, asked.failure


@pytest.mark.parametrize("name", AIMOCK)
async def test_aimock_answers(aimock_url: str, name: str) -> None:
    asked = await at_aimock(aimock_url, name, "hello", {})
    assert asked.text == "Hello! How can I help you today?" and len(asked.deltas) > 1
    assert asked.answer is not None and asked.answer.finish_reason == "stop"
    usage = asked.usage
    assert usage is not None and (usage.input_uncached, usage.output, usage.estimated) == (11, 9, False)


@pytest.mark.parametrize("name", AIMOCK)
async def test_aimock_calls_a_tool(aimock_url: str, name: str) -> None:
    asked = await at_aimock(aimock_url, name, "call", {}, tools=[LOOK])
    called(asked, {"a": 1})
    assert asked.answer is not None
    # aimock gives a finish reason here that Gemini doesn't have.
    strange = asked.answer.finish_reason_raw == "FUNCTION_CALL"
    assert strange == (name in ("gemini", "vertex"))
    assert asked.answer.finish_reason == ("error" if strange else "tool_call")


@pytest.mark.parametrize("name", AIMOCK)
async def test_aimock_is_slow_to_begin(aimock_url: str, name: str) -> None:
    asked = await at_aimock(aimock_url, name, "slow", {}, idle_s=0.2)
    assert asked.text == "Slow to begin." and asked.first_token_s is not None and asked.first_token_s >= 0.3


@pytest.mark.parametrize("fault", AIMOCK_FAULTS)
@pytest.mark.parametrize("name", AIMOCK)
async def test_aimock_faults(aimock_url: str, name: str, fault: str) -> None:
    by_header = fault.startswith("x-")
    headers = {fault: "1"} if by_header else {}
    limits = {"first_token_s": 0.2} if fault == "stall" else {}
    asked = await at_aimock(aimock_url, name, "hello" if by_header else fault, headers, **limits)
    assert failed_so(asked) == AIMOCK_FAULTS[fault], asked.failure


def called(asked: Asked, arguments: dict[str, Any]) -> None:
    """The answer calls the tool, once, with these arguments."""
    assert asked.answer is not None, asked.failure
    [part] = [part for part in asked.answer.parts if part.type == "tool_call"]
    assert (part.tool_name, json.loads(part.arguments or "")) == ("look", arguments) and part.tool_call_id


def test_the_coverage_names_these_wires() -> None:
    assert set(SIMULATED) == set(LLMOCK) | set(AIMOCK)
