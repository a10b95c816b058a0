"""Asks a provider as the call workers do: its adapter, its transport, one call."""

import time
from dataclasses import dataclass
from typing import Any

from processors.clock import SystemClock
from processors.providers.adapters import adapter_of, transport_of
from processors.providers.authorisers import Resolver
from processors.providers.base import Completion, Delta, ProviderFailure
from processors.providers.call import Order, call
from processors.providers.sessions import Sessions
from processors.providers.watch import Watch
from schemas.config import Model, Provider, Timeouts
from schemas.records import CallTask, RequestEvent, Tool, Usage

INPUT_ESTIMATE = 7
LOOK = Tool(
    name="look", input_schema='{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}'
)
_RESOLVER = Resolver(lambda reference: "a-key-of-the-tests", lambda reference: "")


@dataclass
class Asked:
    """What came of a call: an answer or a failure; `usage` and `deltas` of both; seconds to the first token."""

    answer: Completion | None
    failure: ProviderFailure | None
    usage: Usage | None
    deltas: list[Delta]
    first_token_s: float | None

    @property
    def text(self) -> str:
        """The text of the answer."""
        assert self.answer is not None, self.failure
        return "".join(part.text or "" for part in self.answer.parts if part.type == "text")


async def ask(provider: dict[str, Any], vendor_model: str, prompt: str, **options: Any) -> Asked:
    """One call. Options: `tools`, and the limits of time in seconds (first_token_s, idle_s, total_s)."""
    told = Provider.model_validate(provider)
    model = Model.model_validate({"provider": "p", "vendor_model": vendor_model})
    request = RequestEvent(id="r", prompt=prompt, tools=options.pop("tools", []))
    task = CallTask(
        request_id="r", tenant="t", attempt=1, attempt_id="a", model="m", lane="standard", task_type="chat",
        accepted_at=0, deadline_at=1, issued_at=0, config_version="v", route_partition=0,
        input_tokens_estimate=INPUT_ESTIMATE, max_output_tokens=64, request=request,
    )  # fmt: skip
    adapter = adapter_of(told)
    deltas: list[Delta] = []
    first: list[float] = []
    key = told.keys[0].secret if told.keys else None
    async with Sessions.make() as sessions:
        order = Order(
            task=task,
            request=adapter.encode(task, model),
            adapter=adapter,
            transport=transport_of(told, key, sessions, _RESOLVER),
            watch=Watch(Timeouts.model_validate({"first_token_s": 10, "idle_s": 10, **options})),
            max_result_bytes=1 << 20,
            now_ms=SystemClock().now_ms,
            first_token=lambda: first.append(time.monotonic() - began),
            deltas=deltas.extend,
        )
        began = time.monotonic()
        try:
            answer = await call(order)
        except ProviderFailure as failure:
            return Asked(None, failure, failure.usage, deltas, first[0] if first else None)
    return Asked(answer, None, answer.usage, deltas, first[0] if first else None)
