"""Which record lies on which topic, and the subjects that the registry keeps their schemas under."""

from typing import Final

from schemas import names

TOPIC_RECORDS: Final[dict[str, str]] = {
    names.REQUESTS: "sluice.RequestEvent",
    names.RESULTS: "sluice.ResultEvent",
    names.USAGE: "sluice.UsageEvent",
    names.AUDIT: "sluice.AuditEvent",
    names.FEEDBACK: "sluice.Feedback",
    names.CONTROL: "sluice.Control",
    names.DEAD_LETTERS: "sluice.DeadLetter",
    names.ATTEMPTS: "sluice.Attempt",
}
"""The record of each topic that holds one kind of record."""

_BY_RECORD_NAME: Final = (
    "sluice.ClassifiedRequest", "sluice.Outcome", "sluice.Control", "sluice.CallTask", "sluice.DeltaEvent"
)  # fmt: skip
SUBJECTS: Final[dict[str, str]] = {f"{topic}-value": record for topic, record in TOPIC_RECORDS.items()} | {
    record: record for record in _BY_RECORD_NAME
}
"""Every subject and the record registered under it."""


def subject_of(topic: str, record_name: str) -> str:
    """The subject of a record on a topic: by topic where it is public, by record name on our inner ones."""
    return f"{topic}-value" if topic in TOPIC_RECORDS else record_name
