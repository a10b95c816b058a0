"""A request's journey from its event to ClickHouse, and the commands that change it."""

import asyncio
import uuid
from typing import Any

import msgspec
import pytest

from schemas import names
from schemas.config import Config
from schemas.records import Parameters, RequestEvent
from streams import config_watch, topics
from tests.pipeline.fleet import until
from tests.pipeline.pipeline import REPLIES, RETRYING, Pipeline

pytestmark = pytest.mark.asyncio(loop_scope="session")

TENANT, OTHER = RETRYING[0], RETRYING[1]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
# What a request carries and gets back, by where it comes back.
EVERYWHERE: dict[str, Any] = {
    "application": "invoices",
    "user": "user-7",
    "session_id": "session-9",
    "purpose": "billing",
    "metadata": {"order": "4711", "region": "nord-süd"},
}
IN_RESULT: dict[str, Any] = {
    "tags": ["a", "b"],
    "workflow_id": "flow-1",
    "workflow_step": "step-2",
    "parent_request_id": "parent-3",
    "experiment_key": "experiment-4",
    "traceparent": TRACE,
    "reply_topic": REPLIES,
}


@pytest.fixture
def prefix() -> str:
    return f"journey-{uuid.uuid4().hex[:8]}"


def some(event: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """Those of an event's fields that are in `fields`."""
    return {name: getattr(event, name) for name in fields}


async def test_every_field_comes_back_in_each_place(pipeline: Pipeline, prefix: str) -> None:
    classes = ["pii", "finance"]
    event = RequestEvent(
        id=prefix, tenant=TENANT, prompt=prefix, model="quick", lane="interactive", task_type="extraction",
        data_classes=classes, idempotency_key=f"{prefix}-key", parameters=Parameters(max_tokens=77),
        **EVERYWHERE, **IN_RESULT,
    )  # fmt: skip
    await pipeline.publish(event)
    result = await pipeline.result(TENANT, prefix)
    await pipeline.kept()
    evidence, known = pipeline.evidence, {"lane": "interactive", "task_type": "extraction"}
    assert result.status == "succeeded" and result.finish_reason == "stop" and result.text == "x" * 12 * 5
    assert (result.model, result.provider, result.attempts) == ("fast", "mock", 1)
    wanted = {**EVERYWHERE, **IN_RESULT, **known}
    assert some(result, wanted) == wanted
    [usage] = [u for u in evidence.usage if u.request_id == prefix]
    wanted = {**EVERYWHERE, **known, "experiment_key": "experiment-4", "workflow_id": "flow-1"}
    assert some(usage, wanted) == wanted
    assert usage.usage.output == 5 and not usage.usage.estimated and usage.cost == result.cost
    audited = evidence.audited((TENANT, prefix))
    assert [e.action for e in audited] == ["accepted", "finalised"]
    wanted = {**EVERYWHERE, **known, "data_classes": classes}
    assert [some(e, wanted) for e in audited] == [wanted, wanted]
    details = msgspec.json.decode(audited[0].details)
    assert details["source_topic"] == names.REQUESTS and details["idempotency_key"] == f"{prefix}-key"
    assert details["candidates"] == ["fast"] and float(details["worst_case_cost"]) > 0
    await check_wire(pipeline, result.event_id)
    await check_stored(pipeline, prefix, known)


async def check_wire(pipeline: Pipeline, event_id: str) -> None:
    """A consumer filters by headers; the copy on the reply topic is the same record."""
    wire = pipeline.evidence.wire
    key, _, headers = wire[names.RESULTS][event_id]
    assert wire[REPLIES][event_id] == wire[names.RESULTS][event_id]
    assert key == TENANT.encode()
    told = {name: value.decode() for name, value in headers.items()}
    assert told.pop(names.HEADER_REQUEST_ID).startswith("journey-")
    assert told == {
        names.HEADER_TENANT: TENANT,
        names.HEADER_APPLICATION: "invoices",
        names.HEADER_STATUS: "succeeded",
        names.HEADER_KIND: "terminal",
        names.HEADER_EVENT_ID: event_id,
        names.HEADER_TRACEPARENT: TRACE,
    }


async def check_stored(pipeline: Pipeline, request_id: str, known: dict[str, Any]) -> None:
    """Each table tells the same."""
    columns = {
        "results": {**EVERYWHERE, **IN_RESULT, **known, "model": "fast", "output_tokens": 5, "text_characters": 60},
        "usage": {**EVERYWHERE, **known, "workflow_id": "flow-1", "model": "fast", "output_tokens": 5},
        "audit": {**EVERYWHERE, **known, "data_classes": ["pii", "finance"]},
        "requests": {**EVERYWHERE, **known, "idempotency_key": f"{request_id}-key", "why": "named by the request"},
    }  # fmt: skip
    for table, wanted in columns.items():
        named = ", ".join(f"`{column}`" for column in wanted)
        rows = await pipeline.store.rows(f"SELECT {named} FROM {table} WHERE request_id = '{request_id}'")
        assert len(rows) == (2 if table == "audit" else 1), table
        for row in rows:
            row["why"] = (
                wanted.get("why") if str(row.get("why", "")).startswith(str(wanted.get("why"))) else None
            )
            assert {
                c: int(v) if isinstance(wanted[c], int) else v for c, v in row.items() if c in wanted
            } == wanted
    [body] = await pipeline.store.rows(f"SELECT text FROM bodies WHERE request_id = '{request_id}'")
    assert body["text"] == "x" * 60


async def test_cancelling_ends_the_request_and_drops_its_call(pipeline: Pipeline, prefix: str) -> None:
    event = RequestEvent(id=prefix, tenant=TENANT, prompt=f"{prefix} [[hang:2]]", model="slow")
    await pipeline.publish(event)

    async def state() -> tuple[int, int]:
        counts = await asyncio.to_thread(pipeline.provider.counts)
        return counts["by_prompt"].get(event.prompt, 0), counts["in_flight"]

    async def calling() -> bool:
        return await state() == (1, 1)

    async def dropped() -> bool:
        return await state() == (1, 0)

    await until(calling, 30, "the call to hang")
    await pipeline.control("cancel", tenant=TENANT, request_id=prefix, reason="not needed any more")
    result = await pipeline.result(TENANT, prefix)
    assert (result.status, result.error_class) == ("cancelled", "cancelled")
    await until(dropped, 30, "the stream to be dropped")

    async def attributed() -> bool:
        await pipeline.evidence.catch_up()
        given = {e.action for e in pipeline.evidence.audited((TENANT, prefix)) if e.actor == "test"}
        return bool(given & {"finalised", "cancel_after_end"})  # whoever ends it: route, or call's outcome

    await until(attributed, 30, "the audit trail to say who cancelled")
    await pipeline.kept()
    [usage] = [u for u in pipeline.evidence.usage if u.request_id == prefix]
    assert usage.status == "cancelled" and usage.usage.estimated, "what was sent is billed as an estimate"
    assert (usage.usage.input_uncached or 0) > 0 and usage.cost is not None and usage.cost > 0


async def test_a_cancel_that_comes_first_is_remembered(pipeline: Pipeline, prefix: str) -> None:
    await pipeline.control("cancel", tenant=TENANT, request_id=prefix)

    async def remembered() -> bool:
        await pipeline.evidence.catch_up()
        return "cancel_remembered" in [e.action for e in pipeline.evidence.audited((TENANT, prefix))]

    await until(remembered, 30, "the cancel to be remembered")
    await pipeline.publish(RequestEvent(id=prefix, tenant=TENANT, prompt=prefix))
    assert (await pipeline.result(TENANT, prefix)).status == "cancelled"
    await pipeline.kept()
    assert prefix not in (await asyncio.to_thread(pipeline.provider.counts))["by_prompt"]


@pytest.mark.parametrize("what", [{"model": "quick"}, {"tenant": TENANT}], ids=["model", "tenant"])
async def test_what_is_paused_waits_until_it_is_resumed(
    pipeline: Pipeline, prefix: str, what: dict[str, str]
) -> None:
    """An alias stands for its model. Work of others goes on meanwhile."""
    event = RequestEvent(id=prefix, tenant=TENANT, prompt=prefix, model="fast")
    others = "slow" if "model" in what else "fast"

    async def pauses() -> int:
        await pipeline.evidence.catch_up()
        return sum(e.action == "paused" for events in pipeline.evidence.audit.values() for e in events)

    async def known() -> bool:
        return await pauses() > before

    before = await pauses()
    await pipeline.control("pause", **what)
    await until(known, 30, "the pause to be known")
    await pipeline.publish(event)
    for number in range(3):
        other = RequestEvent(id=f"{prefix}-{number}", tenant=OTHER, prompt=f"{prefix} other", model=others)
        await pipeline.publish(other)
        assert (await pipeline.result(OTHER, other.id)).status == "succeeded"
    assert (TENANT, prefix) not in pipeline.evidence.terminal()
    assert prefix not in (await asyncio.to_thread(pipeline.provider.counts))["by_prompt"]
    await pipeline.control("resume", **what)
    assert (await pipeline.result(TENANT, prefix)).status == "succeeded"
    await pipeline.kept()


async def test_a_paused_model_is_passed_by_where_another_may_serve(pipeline: Pipeline, prefix: str) -> None:
    sent: list[str] = []

    async def answered() -> bool:
        """Each worker of route learns of a pause by itself: what was sent before waits for the model."""
        sent.append(f"{prefix}-{len(sent)}")
        await pipeline.publish(
            RequestEvent(id=sent[-1], tenant=TENANT, prompt=prefix, model="fast", candidate_models=["slow"])
        )
        await asyncio.sleep(2)
        await pipeline.evidence.catch_up()
        return (TENANT, sent[-1]) in pipeline.evidence.terminal() and len(sent) > 1

    await pipeline.control("pause", model="fast")
    try:
        await until(answered, 30, "a request to pass the paused model by")
        result = await pipeline.result(TENANT, sent[-1])
        assert (result.status, result.model) == ("succeeded", "slow")
    finally:
        await pipeline.control("resume", model="fast")
    await pipeline.kept()


async def test_a_model_added_while_all_runs_is_really_called(
    pipeline: Pipeline, prefix: str, model_server_url: str
) -> None:
    """The small real model: topics first, then the configuration, and no restart of anything."""
    values = pipeline.config.model_dump()
    values["providers"]["local"] = {"kind": "openai", "base_url": model_server_url}
    values["models"]["small"] = {
        "provider": "local", "vendor_model": "small", "lanes": ["standard"], "limits": {"concurrency": 2},
        "price": {"input": "0.01", "output": "0.02"},
    }  # fmt: skip
    config = Config.model_validate(values)
    await topics.apply(pipeline.endpoints.brokers, topics.specs(config))
    await config_watch.publish(pipeline.endpoints.brokers, config)
    pipeline.config = config
    parameters, result = Parameters(max_tokens=24, temperature=0.0, seed=1), None
    for number in range(100):  # until every classify worker has read the new configuration
        request_id = f"{prefix}-{number}"
        await pipeline.publish(
            RequestEvent(
                id=request_id, tenant=TENANT, prompt="Name a colour.", model="small", parameters=parameters
            )
        )
        result = await pipeline.result(TENANT, request_id)
        if result.status != "rejected":
            break
        assert [p.code for p in result.problems] == ["unknown_model"]
    assert result is not None and result.status == "succeeded", result
    assert result.text and result.finish_reason in ("stop", "length") and result.provider == "local"
    assert result.usage is not None and not result.usage.estimated
    assert (result.usage.input_uncached or 0) > 0 and 0 < (result.usage.output or 0) <= 24
    assert result.cost is not None and result.cost > 0
    timings = result.timings
    assert timings is not None and None not in (
        timings.started_at,
        timings.first_token_at,
        timings.completed_at,
    )
    await pipeline.kept()
    [row] = await pipeline.store.rows(
        "SELECT model, cost, cost_basis, price_version, output_tokens FROM results"
        f" WHERE request_id = '{result.request_id}'"
    )
    assert (row["cost_basis"], row["price_version"]) == ("per_token", result.price_version)
    assert result.cost_basis == "per_token" and result.price_version
    assert row["model"] == "small" and int(row["output_tokens"]) == result.usage.output
