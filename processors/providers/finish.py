"""What a vendor's finish reason means: one rule, for every vendor, for the words that nobody here knows."""

from collections.abc import Mapping, Sequence

from processors.providers.base import FinishReason
from processors.providers.failures import failure
from schemas.records import ContentPart


def finish_reason(
    known: Mapping[str, FinishReason], word: str, parts: Sequence[ContentPart], told: str | None = None
) -> FinishReason:
    """The canonical reason for the vendor's `word`; `error` for one that isn't known, beside the answer that came.

    So a new word is never taken for a clean end; it stands in `finish_reason_raw`. `told`: what the vendor says about
    it. Raises ProviderFailure `provider_error` where such an end comes without an answer.
    """
    reason = known.get(word, "error")
    if reason == "error" and not parts:
        raise failure("provider_error", f"the model broke off with {word}" + (f": {told}" if told else ""))
    return reason
