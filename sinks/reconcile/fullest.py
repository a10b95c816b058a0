"""The largest sets of tables to which one record of each kind gives rows: who is in all of one needs no decoding."""

from collections.abc import Mapping
from typing import Final

from schemas.records import Attempt, AuditEvent, DeadLetter, Feedback, ResultEvent, UsageEvent
from sinks.config_record import ConfigRecord

FULLEST: Final[Mapping[type, tuple[frozenset[str], ...]]] = {
    ResultEvent: (frozenset({"results", "bodies"}), frozenset({"result_notices"})),
    UsageEvent: (frozenset({"usage"}),),
    AuditEvent: (frozenset({"audit", "decisions", "requests"}),),
    Attempt: (frozenset({"attempts"}),),
    Feedback: (frozenset({"feedback"}),),
    ConfigRecord: (frozenset({"config_versions"}),),
    DeadLetter: (frozenset({"dead_letters"}),),
}
"""A kind that isn't named here is always decoded. No record's tables may hold more than one of its kind's sets."""
