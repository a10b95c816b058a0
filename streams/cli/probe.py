"""A tiny call to one deployment with one key, by the way on which the call workers reach it."""

import secrets
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from processors.clock import Clock, SystemClock
from processors.pricing.book import book_of
from processors.pricing.cost import cost_of
from processors.providers.base import ATTEMPT_HEADER, ProviderFailure, told_or_estimated
from processors.providers.call import Order, call
from processors.providers.pool import NoTarget, Target
from processors.providers.watch import Watch
from schemas.config import Config, Timeouts
from schemas.records import CallTask, ErrorInfo, RequestEvent, Usage
from schemas.signals import Invalid

_PROMPT: Final = "Answer with the word ok."
# The least that every vendor takes; a model that thinks may use it all up, which is an answer too.
MOST_OUTPUT: Final = 16
_INPUT: Final = 16
_MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Probe:
    """What is called, and the ids of the models that are served there; the first one's prices hold."""

    target: Target
    models: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a probe. Times are in milliseconds, the cost in US dollars; what isn't known is None."""

    probe: Probe
    latency_ms: float | None = None
    first_token_ms: float | None = None
    finish_reason: str | None = None
    vendor_model: str | None = None
    usage: Usage | None = None
    cost: Decimal | None = None
    error: ErrorInfo | None = None


async def ask(probe: Probe, config: Config, within_s: float, clock: Clock | None = None) -> Found:
    """Make the call, once: it may be paid for. Every failure is in what is found."""
    clock = clock or SystemClock()
    try:
        order = _order(probe, within_s, clock)
    except NoTarget as problem:
        error = ErrorInfo(error_class=problem.error_class, message=str(problem), retriable=problem.retriable)
        return Found(probe, error=error)
    except Invalid as problem:
        return Found(probe, error=ErrorInfo(error_class=problem.reason, message=problem.message))
    began, began_at = clock.monotonic(), clock.now_ms()
    first: list[float] = []
    order.first_token = lambda: first.append((clock.monotonic() - began) * 1000)
    found = Found(probe)
    try:
        answer = await call(order)
    except ProviderFailure as problem:
        found = replace(found, error=problem.error, usage=problem.usage)
    else:
        assert order.decoder is not None, "an answer was decoded"
        found = replace(
            found,
            finish_reason=answer.finish_reason,
            vendor_model=answer.vendor_model,
            usage=told_or_estimated(answer.usage, order.task, order.decoder.output_bytes),
        )
    seconds = clock.monotonic() - began
    prices = book_of(config)[probe.models[0]].get(probe.target.deployment.id)
    cost = cost_of(found.usage, prices, at_ms=began_at, seconds=seconds)
    first_token_ms = first[0] if first else None
    return replace(found, latency_ms=seconds * 1000, first_token_ms=first_token_ms, cost=cost.dollars)


def _order(probe: Probe, within_s: float, clock: Clock) -> Order:
    target, now = probe.target, clock.now_ms()
    name = f"providers-test-{secrets.token_hex(4)}"
    task = CallTask(
        request_id=name,
        tenant="",
        attempt=1,
        attempt_id=name,
        model=probe.models[0],
        lane="interactive",
        task_type="",
        accepted_at=now,
        deadline_at=now + round(within_s * 1000),
        issued_at=now,
        config_version="",
        route_partition=0,
        input_tokens_estimate=_INPUT,
        max_output_tokens=MOST_OUTPUT,
        request=RequestEvent(id=name, prompt=_PROMPT),
    )
    request = target.adapter.encode(task, target.model)
    request.headers[ATTEMPT_HEADER] = f"{name}.1"
    timeouts = Timeouts(first_token_s=within_s, idle_s=within_s, total_s=within_s)
    transport = target.connection.transport()
    return Order(task, request, target.adapter, transport, Watch(timeouts), _MOST_BYTES, clock.now_ms)
