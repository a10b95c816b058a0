"""The provider call of a task: encoded for its target, within the model's window, with its limits of time."""

from processors.providers.base import ATTEMPT_HEADER
from processors.providers.call import Order
from processors.providers.pool import Grant
from processors.providers.watch import Watch
from processors.providers.window import check_window
from schemas.records import CallTask
from streams.services.call.deps import CallDeps
from streams.services.call.item import Item


def order_of(item: Item, grant: Grant, task: CallTask, deps: CallDeps) -> Order:
    """The call of `task` (the item's, its content fetched) at the target. Notes in the item where it goes.

    Raises Invalid where the task can't be expressed, or is longer than the model's window.
    """
    model = grant.target.model
    item.target = grant.target
    check_window(item.task.request, item.size, model, deps.count_tokens)
    request = grant.target.adapter.encode(task, model)
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
