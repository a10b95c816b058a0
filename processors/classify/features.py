"""What a request's size and shape say: bytes, estimated tokens, features for routing, the task type."""

import re
from typing import Final

from processors.request_size import RequestSize, size_of
from processors.tokens import request_tokens
from schemas.records import RequestEvent

_TOKENS_PER_MESSAGE: Final = 4
_TOKENS_PER_MEDIUM: Final = 1000
_HINT_CHARS: Final = 64
_READ_CHARS: Final = 400
_VERBS: Final = {
    "classification": re.compile(r"\b(classif(y|ies)|categori[sz]e|label)\b", re.I),
    "extraction": re.compile(r"\bextract\b", re.I),
    "summarization": re.compile(r"\bsummari[sz]e\b", re.I),
    "translation": re.compile(r"\btranslate\b", re.I),
}


def estimate_tokens(event: RequestEvent, size: RequestSize) -> int:
    """Estimated input tokens: of the texts (see processors.tokens), 4 a message, 1000 an image or the like."""
    messages = max(len(event.messages), 1) + (event.system is not None)
    return request_tokens(event) + messages * _TOKENS_PER_MESSAGE + size.media * _TOKENS_PER_MEDIUM


def features_of(event: RequestEvent, size: RequestSize) -> dict[str, float]:
    """Numeric features for routing; one that is 0 is left out."""
    features = {
        "content_bytes": size.content,
        "messages": len(event.messages),
        "system_bytes": size_of(event.system),
        "tools": len(event.tools),
        "media": size.media,
        "schema": event.response_format is not None and event.response_format.json_schema is not None,
    }
    return {name: float(value) for name, value in features.items() if value}


def task_type_of(event: RequestEvent) -> str:
    """The task type: the hint in lower case; without one the first rule that holds.

    1. tools are offered                                 -> tool_use
    2. output_type is label / embedding                  -> classification / embedding
    3. an assistant has spoken already                   -> chat
    4. a verb in the system prompt's or the last text's first 400 characters
       (classify, categorise, label / extract / summarise / translate)
                                                         -> classification / extraction /
                                                            summarization / translation
    5. output_type is json, or JSON output is asked for  -> extraction
    6. otherwise                                         -> chat
    """
    hint = (event.task_type or "").strip().lower()
    if hint and len(hint) <= _HINT_CHARS:
        return hint
    if event.tools:
        return "tool_use"
    if event.output_type in ("label", "embedding"):
        return "classification" if event.output_type == "label" else "embedding"
    if any(message.role == "assistant" for message in event.messages):
        return "chat"
    for text in (event.system or "", _last_text(event)):
        for task_type, verb in _VERBS.items():
            if verb.search(text[:_READ_CHARS]):
                return task_type
    form = event.response_format.type if event.response_format is not None else None
    return "extraction" if event.output_type == "json" or form in ("json", "json_schema") else "chat"


def _last_text(event: RequestEvent) -> str:
    texts = [part.text for part in event.messages[-1].content if part.text] if event.messages else []
    return event.prompt or (texts[0] if texts else "")
