"""Where texts lie beside ClickHouse, and until when: the topics that carry them, by their settings on the cluster."""

from dataclasses import dataclass, replace
from typing import Final

from schemas import names
from schemas.config import Tenant
from streams.topics import settings_of

_WHAT: Final = {
    names.REQUESTS: "prompts",
    names.TENANT_EVENTS: "prompts and answers",
    names.RESULTS: "answers",
    names.FEEDBACK: "comments",
    names.DEAD_LETTERS: "original bytes",
    names.CONTROL: "prompts of quarantined requests that were retried",
}


@dataclass(frozen=True)
class Copies:
    """A topic with copies. `gone_by`: when (ms) the last of them written until then is deleted; None: nobody knows."""

    topic: str
    what: str
    rule: str
    gone_by: int | None


async def copies_of(brokers: str, tenant: Tenant | None, until: int) -> list[Copies]:
    """The topics that may hold texts written until then (ms), reply topics of the tenant among them.

    Those of calls that have the same settings are told as one.
    """
    replies = set(tenant.reply_topics) if tenant else set()
    found = await settings_of(
        brokers, lambda name: name in _WHAT or name in replies or name.startswith(names.CALLS_PREFIX)
    )
    copies = [_copies(topic, settings, until) for topic, settings in sorted(found.items())]
    calls = [c for c in copies if c.topic.startswith(names.CALLS_PREFIX)]
    if len({(c.rule, c.gone_by) for c in calls}) != 1:
        return copies
    one = replace(calls[0], topic=f"{names.CALLS_PREFIX}* ({len(calls)} topics)")
    return [one, *(c for c in copies if c not in calls)]


def _copies(topic: str, settings: dict[str, str], until: int) -> Copies:
    what = _WHAT.get(topic) or (
        "prompts" if topic.startswith(names.CALLS_PREFIX) else "answers, for their reader"
    )
    kept = int(settings.get("retention.ms", "-1"))
    if "delete" not in settings.get("cleanup.policy", "delete") or kept < 0:
        return Copies(topic, what, "for ever", None)
    # Kafka deletes whole segments, when their newest record is over; the one that is written to is closed in its time.
    segment = int(settings.get("segment.ms", "0"))
    return Copies(topic, what, f"{_days(kept)}, by segments of {_days(segment)}", until + kept + segment)


def _days(ms: int) -> str:
    days = ms / 86_400_000
    return f"{days:.0f} days" if days >= 2 else f"{ms / 3_600_000:.0f} h"
