"""Sluice for upstream services: a typed client, and the records that travel on the topics."""

from schemas.records import (
    ContentPart,
    DeadLetter,
    ErrorInfo,
    Feedback,
    Message,
    Parameters,
    Problem,
    RequestEvent,
    ResponseFormat,
    ResultEvent,
    Timings,
    Tool,
    Usage,
    UsageEvent,
)
from streams.client import Client, ClientTopics
from streams.client_handle import ClientError, Conflict, DeadLettered, Handle, ReadFailed

__all__ = [
    "Client",
    "ClientError",
    "ClientTopics",
    "Conflict",
    "ContentPart",
    "DeadLetter",
    "DeadLettered",
    "ErrorInfo",
    "Feedback",
    "Handle",
    "Message",
    "Parameters",
    "Problem",
    "ReadFailed",
    "RequestEvent",
    "ResponseFormat",
    "ResultEvent",
    "Timings",
    "Tool",
    "Usage",
    "UsageEvent",
]
