"""Names that several stages share: topics, headers, statuses. They are contracts: changing one breaks readers."""

from typing import Final, Literal

TOPICS_PREFIX: Final = "llm."
REQUESTS: Final = "llm.requests"
TENANT_EVENTS: Final = "llm.tenant-events"
ATTEMPTS: Final = "llm.attempts"
RESULTS: Final = "llm.results"
USAGE: Final = "llm.usage"
AUDIT: Final = "llm.audit"
FEEDBACK: Final = "llm.feedback"
CONTROL: Final = "llm.control"
CONFIG: Final = "llm.config"
DEAD_LETTERS: Final = "llm.dead-letters"
ROUTE_STATE: Final = "llm.route.state"
CALLS_PREFIX: Final = "llm.calls."

# Headers of results, usage and audit events: a consumer filters by them without decoding the value.
HEADER_TENANT: Final = "sluice-tenant"
HEADER_APPLICATION: Final = "sluice-application"
HEADER_REQUEST_ID: Final = "sluice-request-id"
HEADER_STATUS: Final = "sluice-status"
HEADER_KIND: Final = "sluice-kind"
HEADER_EVENT_ID: Final = "sluice-event-id"
# The kind of a DeltaEvent on a reply topic, where results have kinds of their own.
KIND_DELTA: Final = "delta"
HEADER_TRACEPARENT: Final = "traceparent"

# Added to the original headers that a dead letter holds: names what of the original was cut (key, value, headers).
LETTER_TRUNCATED: Final = "sluice-truncated"

Lane = Literal["interactive", "standard", "batch"]
LANES: Final[tuple[Lane, ...]] = ("interactive", "standard", "batch")

ResultStatus = Literal["succeeded", "failed", "rejected", "expired", "cancelled"]
OutcomeStatus = Literal["succeeded", "failed", "returned", "unknown", "cancelled", "expired"]
OnUnknown = Literal["retry", "fail", "quarantine"]


def calls_topic(model: str, lane: str) -> str:
    """The topic of the call tasks of one model and lane."""
    return f"{CALLS_PREFIX}{model}.{lane}"
