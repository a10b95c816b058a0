"""A simulator's faults on the whole pipeline: the terminal status, what is billed, how often it was called."""

import asyncio
import json
import uuid
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from schemas.config import Config
from schemas.records import RequestEvent, ResultEvent, UsageEvent
from streams import config_watch, topics
from tests.pipeline.pipeline import RETRYING, Pipeline
from tests.simulators.servers import llmock

pytestmark = pytest.mark.asyncio(loop_scope="session")

TENANT: Final = RETRYING[5]
# By name of the model here, which is the vendor's too: the kind of its provider, where it is at the simulator.
WIRES: Final = {
    "sim-openai": ("openai", "/v1"),
    "sim-anthropic": ("anthropic", "/anthropic"),
    "sim-gemini": ("gemini", "/gemini/v1beta"),
}
FAULT: Final[dict[str, Any]] = {"type": "stream_fault", "after_chunks": 3}
# The fault of the first calls; then the status, the calls, and the calls that are billed of these.
CASES: Final[dict[str, tuple[dict[str, Any], str, int, int]]] = {
    "429": ({"type": "fail", "status": 429, "retry_after": 1, "times": 2}, "succeeded", 3, 1),
    "503": ({"type": "fail", "status": 503, "retry_after": 0.5}, "succeeded", 2, 1),
    "529": ({"type": "fail", "status": 529, "retry_after": 0.5}, "succeeded", 2, 1),
    "400": ({"type": "fail", "status": 400}, "failed", 1, 0),
    "disconnect": ({**FAULT, "kind": "disconnect"}, "succeeded", 2, 2),
    "truncate": ({**FAULT, "kind": "truncate"}, "succeeded", 2, 2),
    "malformed": ({**FAULT, "kind": "malformed"}, "succeeded", 2, 2),
    "stall": ({**FAULT, "kind": "stall", "after_chunks": 5, "stall_seconds": 60}, "succeeded", 2, 2),
    "slow first token": ({"type": "slow_first_token", "seconds": 0.5}, "succeeded", 1, 1),
}


@pytest.fixture(scope="module")
def simulator() -> Iterator[str]:
    """A simulator whose answers are long enough to break anywhere."""
    with llmock() as url:
        answer = {"type": "reply", "text": "one two three four five six seven eight nine ten", "times": None}
        httpx.post(
            f"{url}/_llmock/scenario", json={"behaviors": [answer]}, trust_env=False
        ).raise_for_status()
        yield url


@pytest_asyncio.fixture(loop_scope="session")
async def simulated(pipeline: Pipeline, simulator: str, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """The pipeline with a model of each wire, which all workers know."""
    if "sim-openai" in pipeline.config.models:
        return pipeline
    key = tmp_path_factory.mktemp("keys") / "key"
    key.write_text("a-key-of-the-simulator")
    values = pipeline.config.model_dump()
    for name, (kind, path) in WIRES.items():
        values["providers"][name] = {"kind": kind, "base_url": simulator + path, "api_key": f"file:{key}"}
        values["models"][name] = {
            "provider": name, "vendor_model": name, "lanes": ["standard"], "price": {"input": 1, "output": 2},
            "timeouts": {"first_token_s": 5, "idle_s": 1, "total_s": 20}, "limits": {"concurrency": 4},
        }  # fmt: skip
    config = Config.model_validate(values)
    await topics.apply(pipeline.endpoints.brokers, topics.specs(config))
    await config_watch.publish(pipeline.endpoints.brokers, config)
    pipeline.config = config
    known = 0
    while known < 5:  # in a row: two workers of classify each take their part
        results = await asyncio.gather(*(ask(pipeline, name, f"warm {uuid.uuid4().hex}") for name in WIRES))
        known = known + 1 if {result.status for result in results} == {"succeeded"} else 0
    return pipeline


async def ask(pipeline: Pipeline, model: str, prompt: str) -> ResultEvent:
    request = RequestEvent(id=uuid.uuid4().hex, tenant=TENANT, prompt=prompt, model=model)
    await pipeline.publish(request)
    return await pipeline.result(TENANT, request.id)


async def calls(http: httpx.AsyncClient, prompt: str) -> int:
    """How often the simulator was asked this."""
    seen = (await http.get("/_llmock/requests")).json()["requests"]
    return sum(prompt in json.dumps(request["body"]) for request in seen)


def billed(pipeline: Pipeline, result: ResultEvent) -> list[UsageEvent]:
    """What is charged for its attempts; one that cost nothing is told too, as nothing."""
    told = [
        u for u in pipeline.evidence.usage if (u.tenant, u.request_id) == (result.tenant, result.request_id)
    ]
    return [bill for bill in told if bill.cost != 0 or bill.usage.output != 0]


@pytest.mark.parametrize("fault", CASES)
async def test_a_fault_of_every_wire(simulated: Pipeline, simulator: str, fault: str) -> None:
    behaviour, status, wanted_calls, wanted_bills = CASES[fault]
    prompts = {name: f"{fault} at {name} {uuid.uuid4().hex}" for name in WIRES}
    async with httpx.AsyncClient(base_url=simulator, trust_env=False) as http:
        told = [{**behaviour, "match": {"model": f"*{name}*"}} for name in WIRES]
        (await http.post("/_llmock/scenario", json={"behaviors": told})).raise_for_status()
        results = await asyncio.gather(*(ask(simulated, *asked) for asked in prompts.items()))
        counts = [await calls(http, prompt) for prompt in prompts.values()]
        verdict = (await http.get("/_llmock/verdict")).json()
    await simulated.kept()
    # It grades its clients: waits that weren't kept, retries in vain, broken answers that were taken for whole.
    assert verdict["errors"] == 0, verdict["findings"]
    assert [result.status for result in results] == [status] * len(WIRES), results
    assert counts == [wanted_calls] * len(WIRES)
    for name, result in zip(WIRES, results, strict=True):
        bills = billed(simulated, result)
        assert len(bills) == wanted_bills, name
        # What broke off is estimated; the answer's usage is what the vendor told.
        assert sorted(bill.usage.estimated for bill in bills) == [False, True][:wanted_bills], name
        assert all(bill.cost is not None and bill.cost > 0 for bill in bills), name
        assert (result.status == "succeeded") == (result.usage is not None and bool(result.text)), name
