"""The events of Sluice as typed records: one struct for each Avro record in `schemas/avro`.

Times are integers, milliseconds since the epoch, UTC (Avro `timestamp-millis` on the wire). Costs are
`Decimal` in US dollars with nine places (Avro `decimal(18, 9)`). A token count of None means "unknown".
Field meanings are documented once, in the `.avsc` files; a test holds the two sets of fields equal.
"""

from typing import Final

import msgspec

from schemas.records.operations import Attempt, AuditEvent, Control, DeadLetter
from schemas.records.parts import (
    ContentPart,
    ErrorInfo,
    Header,
    Message,
    Parameters,
    Problem,
    ResponseFormat,
    Timings,
    Tool,
    Usage,
)
from schemas.records.requests import CallTask, ClassifiedRequest, RequestEvent
from schemas.records.results import DeltaEvent, Feedback, Outcome, ResultEvent, UsageEvent

__all__ = [
    "Attempt",
    "AuditEvent",
    "CallTask",
    "ClassifiedRequest",
    "ContentPart",
    "Control",
    "DeadLetter",
    "DeltaEvent",
    "ErrorInfo",
    "Feedback",
    "Header",
    "Message",
    "Outcome",
    "Parameters",
    "Problem",
    "RequestEvent",
    "ResponseFormat",
    "ResultEvent",
    "Timings",
    "Tool",
    "Usage",
    "UsageEvent",
    "type_names",
]

type_names: Final[dict[str, type[msgspec.Struct]]] = {
    f"sluice.{t.__name__}": t
    for t in (
        RequestEvent, ClassifiedRequest, CallTask, Outcome, ResultEvent, UsageEvent, AuditEvent,
        Feedback, Control, DeadLetter, Attempt, DeltaEvent,
    )
}  # fmt: skip
"""The records that topics carry, by their full name in Avro; what they are made of is not among them."""
