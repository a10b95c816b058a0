"""Whether a try that failed is followed by another within call, and what a call counts for against its limits. Pure."""

from typing import Final

from processors.providers.pool import ELSEWHERE, Pool
from schemas.config import Model
from schemas.records import CallTask, ErrorInfo, Usage
from streams.services.call.item import Item

_BACKOFF_S: Final = (0.25, 20.0)
# Longer than this a task doesn't wait here: route may have another model for it.
_LONGEST_WAIT_MS: Final = 60_000
# No call uses more of its reservation than so many times it, whatever the vendor says: a debt must have an end.
_MOST_OVERRUN: Final = 10


def reserved_tokens(task: CallTask) -> int:
    """Tokens that a call counts for against the tokens-a-minute limit until its end is known."""
    return task.input_tokens_estimate + task.max_output_tokens


def used_tokens(usage: Usage | None, reserved: int) -> int | None:
    """Tokens that a call counted for in the end, within reason; None where nobody knows."""
    if usage is None or usage.input_uncached is None or usage.output is None:
        return None
    told = usage.input_uncached + (usage.cache_read or 0) + (usage.cache_write or 0) + usage.output
    return min(max(0, told), _MOST_OVERRUN * reserved)


def goes_elsewhere(item: Item, pool: Pool, error: ErrorInfo, mono: float) -> bool:
    """Whether a target that hasn't failed the attempt takes the next try at once. `mono`: monotonic seconds."""
    if error.maybe_paid or error.error_class not in ELSEWHERE:
        return False
    return pool.has_other(item.failed_at, reserved_tokens(item.task), mono)


def may_repeat(item: Item, model: Model, now: int, wait_ms: int) -> bool:
    """Whether there is time, and a retry left, for the same call after a wait. Each target's first try is none."""
    in_time = wait_ms <= _LONGEST_WAIT_MS and now + wait_ms < item.task.deadline_at
    return in_time and item.tries - len(item.failed_at) < model.call_retries


def backoff_ms(tries: int, jitter: float) -> int:
    """Full jitter (0 to 1) over a doubling bound."""
    first, longest = _BACKOFF_S
    return int(jitter * min(longest, first * 2**tries) * 1000)
