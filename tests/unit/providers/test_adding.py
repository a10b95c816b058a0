"""The recipe for a new provider works: its adapter is called, fails and survives the fuzz like any other."""

import random
import re
from typing import Any

import orjson
import pytest

from processors.providers.base import Adapter, ProviderFailure, StreamDecoder
from schemas.config import Model
from schemas.records import CallTask, ContentPart, Parameters, RequestEvent
from schemas.signals import Invalid
from tests.fuzz_providers import Case, fuzz
from tests.provider_docs import DOCS

PAGE = (DOCS / "providers/adding.md").read_text()
[CODE] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
TOY: dict[str, Any] = {"__name__": "toy"}
exec(compile(CODE, "docs/providers/adding.md", "exec"), TOY)
ADAPTER: Adapter = TOY["ToyAdapter"]()
ANSWER = b'{"text":"Hel","new":[1]}\n{"text":"lo"}\n{"end":"limit","read":3,"written":2}\n'
ERROR = b'{"text":"Hel"}\n{"error":"too_busy"}\n'


def encode(policy: str = "reject", **fields: Any) -> Any:
    task = CallTask(
        request_id="r", tenant="t", attempt=1, attempt_id="a", model="m", lane="standard", task_type="chat",
        accepted_at=0, deadline_at=1, issued_at=0, config_version="v", route_partition=0,
        input_tokens_estimate=7, max_output_tokens=9, request=RequestEvent(id="r", **fields),
    )  # fmt: skip
    return ADAPTER.encode(
        task, Model.model_validate({"provider": "p", "vendor_model": "v", "unsupported": policy})
    )


def test_it_is_short() -> None:
    assert len(PAGE.splitlines()) <= 150


def test_its_requests() -> None:
    sent = encode("drop", prompt="hi", parameters=Parameters(seed=1))
    assert (sent.method, sent.path, sent.dropped) == ("POST", "/say", ("parameters.seed",))
    assert orjson.loads(sent.body) == {"model": "v", "say": ["hi"], "most": 9}
    with pytest.raises(Invalid, match=r"parameters\.seed"):
        encode(prompt="hi", parameters=Parameters(seed=1))
    with pytest.raises(Invalid, match="text only"):
        encode(content=[ContentPart(type="image", data=b"x")])


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_its_answers(step: int) -> None:
    decoder: StreamDecoder = ADAPTER.decoder("application/x-ndjson")
    pieces = [decoder.feed(ANSWER[at : at + step]) for at in range(0, len(ANSWER), step)]
    answer = decoder.finish()
    assert "".join(delta.text for piece in pieces for delta in piece) == answer.parts[0].text == "Hello"
    assert (answer.finish_reason, answer.finish_reason_raw, decoder.done) == ("length", "limit", True)
    assert answer.usage is not None and (answer.usage.input_uncached, answer.usage.output) == (3, 2)


def test_its_failures() -> None:
    refused = ADAPTER.failure(400, 500, b'{"error":"too_busy"}')
    assert (refused.error.error_class, refused.repeatable, refused.error.retry_after_ms) == (
        "overloaded",
        True,
        500,
    )
    for data, expected, repeatable in ((ERROR, "overloaded", False), (ANSWER[:30], "truncated", False)):
        decoder = ADAPTER.decoder("")
        with pytest.raises(ProviderFailure) as failed:
            decoder.feed(data)
            decoder.finish()
        assert (failed.value.error.error_class, failed.value.repeatable) == (expected, repeatable)
        assert failed.value.error.maybe_paid


def test_broken_answers_give_a_typed_error(pytestconfig: pytest.Config) -> None:
    seed = random.Random(pytestconfig.option.hypothesis_seed).randrange(2**32)
    answers = Case("toy", [ANSWER, ERROR], make=lambda: ADAPTER.decoder(""))
    errors = Case("toy errors", [ERROR], read=lambda data: ADAPTER.failure(500, None, data))
    assert (fuzz(answers, seed, 3000), fuzz(errors, seed, 1000)) == (3000, 1000)
