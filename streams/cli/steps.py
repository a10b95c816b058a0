"""The steps of one request's life, made alike from events and from rows of ClickHouse, whose names agree."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from streams.cli.output import moment

Fields = Mapping[str, Any]

NOT_BEFORE: Final = "not before"
REPLY_TO: Final = "reply topic"
_FAR_MS: Final = 10**14  # times beyond the year 5138 are given by mistake, and Python can't tell them all
ENDS: Final = frozenset({"succeeded", "failed", "rejected", "expired", "cancelled"})
_STAGES: Final = ("request", "classify", "route", "call", "usage", "result", "relay", "dead letter", "now")
# Within one millisecond: what comes first in a request's life.
_FIRST: Final = ("published", "classified", "accepted", "started")


@dataclass(frozen=True)
class Step:
    """One thing that happened, at `at` (ms since the epoch). `details` hold what is known of it."""

    at: int
    stage: str
    what: str
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def order(self) -> tuple[int, int, int]:
        """Sorts steps into the order of a request's life."""
        return self.at, 0 if self.what in _FIRST else 1, _STAGES.index(self.stage)

    @property
    def text(self) -> str:
        """The details in one line."""
        return ", ".join(f"{k} {v}" if k else str(v) for k, v in self.details.items())


def in_order(steps: Iterable[Step]) -> list[Step]:
    """Each step once (an event may be repeated after a crash), in order."""
    once = {(s.at, s.stage, s.what, s.text): s for s in steps}
    return sorted(once.values(), key=lambda s: s.order)


def complete(steps: list[Step]) -> bool:
    """Whether the whole life is there: accepted, finalised, the result, and a usage for each attempt."""
    did = {(s.stage, s.what) for s in steps}
    ended = [s for s in steps if s.stage == "result" and s.what in ENDS]
    if not ended or not {("route", "accepted"), ("route", "finalised")} <= did:
        return False
    attempts = {s.details.get("attempt") for s in steps if s.stage == "call"}
    settled = {s.details.get("attempt") for s in steps if s.stage == "usage"}
    return attempts <= settled


def published(row: Fields) -> Step:
    """The publication, as the audit of the acceptance records it. Kafka's time, not the publisher's."""
    known = _details(row)
    lies = "-".join(str(known.get(f"source_{k}")) for k in ("topic", "partition", "offset"))
    told = {"place": lies if known.get("source_topic") else None}
    return Step(row["accepted_at"], "request", "published", _known(told))


def audit(row: Fields) -> Step:
    """A decision."""
    told = {
        "attempt": row["attempt"],
        "model": row["model"],
        "": row["reason"],
        "by": _operator(row["actor"]),
    }
    known = _details(row)
    if row["action"] == "accepted":
        told |= {"why": known.get("why"), "deadline": _moment(known.get("deadline_at"))}
    elif row["action"] == "retried":
        told |= {NOT_BEFORE: _moment(known.get("not_before"))}
    return Step(row["at"], "route", row["action"], _known({"status": row["status"], **told}))


def _operator(actor: str) -> str | None:
    return actor if actor.startswith("operator") else None


def _details(row: Fields) -> dict[str, Any]:
    try:
        known = json.loads(row["details"])
    except ValueError:
        return {}
    return known if isinstance(known, dict) else {}


def _moment(ms: object) -> str | None:
    return moment(ms) if isinstance(ms, int) and abs(ms) < _FAR_MS else None


def attempt(row: Fields) -> Step:
    """An entry of the attempt journal."""
    told = {"attempt": row["attempt"], "try": row["try"], "model": row["model"], "worker": row["worker"]}
    return Step(row["at"], "call", row["phase"], _known(told))


def usage(row: Fields) -> Step:
    """What an attempt used."""
    sent = sum(row[k] or 0 for k in ("input_uncached", "cache_read", "cache_write"))
    used = f"{sent} in, {row['output'] if row['output'] is not None else '?'} out"
    cost = None if row["cost"] is None else f"${float(row['cost']):.9f}".rstrip("0").rstrip(".")
    told = {"attempt": row["attempt"], "tokens": used, "cost": cost, "tries": row["tries"]}
    more = {"error": row["error_class"], "corrects": row["corrects"], "estimated": row["estimated"] or None}
    return Step(row["recorded_at"], "usage", row["status"], _known({**told, **more}))


def result(row: Fields) -> Step:
    """The terminal result, or a notice."""
    told = {"model": row["model"], "attempts": row["attempts"], "error": row["error_class"]}
    told |= {"": row["error_message"], "finish": row["finish_reason"], "counts": row["original_request_id"]}
    took = (row["completed_at"] - row["accepted_at"]) / 1000
    told |= {"after": f"{took:.3f} s", REPLY_TO: row["reply_topic"]}
    return Step(row["completed_at"], "result", row["status"], _known(told))


def dead_letter(row: Fields) -> Step:
    """A dead letter about the request."""
    return Step(row["at"], "dead letter", row["reason"], _known({"id": row["id"], "": row["message"]}))


def _known(told: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in told.items() if v not in (None, "", 0)}


_OF_REQUEST: Final = "WHERE request_id = {id:String} AND tenant = {tenant:String}"

QUERIES: Final[dict[str, tuple[Callable[[Fields], Step], str]]] = {
    "published": (
        published,
        f"SELECT toUnixTimestamp64Milli(a.accepted_at) AS accepted_at, details FROM audit AS a {_OF_REQUEST} "
        "AND action = 'accepted' AND accepted_at IS NOT NULL",
    ),
    "audit": (
        audit,
        "SELECT toUnixTimestamp64Milli(a.at) AS at, action, actor, status, model, reason, attempt, details "
        f"FROM audit AS a {_OF_REQUEST}",
    ),
    "attempts": (
        attempt,
        "SELECT toUnixTimestamp64Milli(a.at) AS at, phase, attempt, `try`, model, worker "
        f"FROM attempts AS a {_OF_REQUEST}",
    ),
    "usage": (
        usage,
        "SELECT toUnixTimestamp64Milli(u.recorded_at) AS recorded_at, attempt, tries, status, cost, "
        "error_class, corrects, input_uncached_tokens AS input_uncached, cache_read_tokens AS cache_read, "
        "cache_write_tokens AS cache_write, output_tokens AS output, tokens_estimated AS estimated "
        f"FROM usage AS u {_OF_REQUEST}",
    ),
    "results": (
        result,
        "SELECT toUnixTimestamp64Milli(r.completed_at) AS completed_at, "
        "toUnixTimestamp64Milli(r.accepted_at) AS accepted_at, "
        "status, model, attempts, error_class, error_message, finish_reason, '' AS original_request_id, reply_topic "
        f"FROM results AS r {_OF_REQUEST}",
    ),
    "result_notices": (
        result,
        "SELECT toUnixTimestamp64Milli(n.noticed_at) AS completed_at, "
        "toUnixTimestamp64Milli(n.accepted_at) AS accepted_at, kind AS status, '' AS model, 0 AS attempts, "
        "'' AS error_class, error_message, '' AS finish_reason, original_request_id, '' AS reply_topic "
        f"FROM result_notices AS n {_OF_REQUEST}",
    ),
    "dead_letters": (
        dead_letter,
        "SELECT toUnixTimestamp64Milli(d.at) AS at, id, reason, message FROM dead_letters AS d "
        "WHERE request_id = {id:String} AND claimed_tenant IN ({tenant:String}, '')",
    ),
}
"""For each table of ClickHouse: what makes a step of its row, and the query whose columns that reads."""
