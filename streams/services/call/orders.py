"""The provider call of a task: encoded for its target, within the model's window, with its limits of time."""

import logging

from processors.providers.base import ATTEMPT_HEADER, HttpRequest
from processors.providers.call import Order
from processors.providers.pool import Grant
from processors.providers.watch import Watch
from processors.providers.window import check_window
from schemas.config import Model
from schemas.records import CallTask
from schemas.signals import Invalid
from streams.services.call.deps import CallDeps
from streams.services.call.item import Item

_log = logging.getLogger(__name__)


def order_of(item: Item, grant: Grant, task: CallTask, deps: CallDeps) -> Order:
    """The call of `task` (the item's, its content fetched) at the target. Notes in the item where it goes.

    Raises Invalid where the task can't be expressed, or is longer than the model's window.
    """
    model = grant.target.model
    item.target = grant.target
    request = _encoded(item, grant, task, model, deps)
    item.dropped = request.dropped
    request.headers[ATTEMPT_HEADER] = f"{task.attempt_id}.{item.tries + 1}"
    now = deps.clock.now_ms()
    total_end = now + int(model.timeouts.total_s * 1000)
    item.must_end_by = min(total_end, task.deadline_at)
    item.watch = Watch(
        model.timeouts,
        (item.must_end_by - now) / 1000,
        "deadline" if task.deadline_at <= total_end else "timeout_total",
    )
    return Order(
        task=task,
        request=request,
        adapter=grant.target.adapter,
        transport=grant.transport,
        watch=item.watch,
        max_result_bytes=item.config.limits.max_result_bytes,
        now_ms=deps.clock.now_ms,
    )


def _encoded(item: Item, grant: Grant, task: CallTask, model: Model, deps: CallDeps) -> HttpRequest:
    try:
        check_window(item.task.request, item.size, model, deps.count_tokens)
        return grant.target.adapter.encode(task, model)
    except Invalid:
        raise
    except Exception as error:
        # Whatever a request makes the encoder stumble over fails its attempt; it must not end the worker, which would
        # meet it again after each restart, as nothing is journaled yet.
        _log.warning("attempt %s: the request can't be encoded", task.attempt_id, exc_info=True)
        told = f"the request can't be put into the vendor's form ({type(error).__name__}: {error})"
        raise Invalid("internal", told[:500]) from error
