"""What vendors tell about their models: a small table, by name. A model that isn't here has to be told in the
configuration, where anything may be told otherwise.

As of November 2026. The pages named at the rows are where a row can be checked; those of Claude 5, Claude Haiku 4.5,
Gemini 2.0 Flash and Gemini 2.5 Pro were compared with excerpts of them, the others weren't. A name that a row wasn't
made for doesn't match: a wrong capability would refuse requests that the model could serve.
"""

import re
from typing import Final, NamedTuple

from schemas.config import Capabilities

_SEEING: Final = Capabilities(
    modalities=["text", "image", "document"], tools=True, parallel_tools=True, json_schema=True, reasoning=False
)  # fmt: skip
_THINKING: Final = _SEEING.model_copy(update={"reasoning": True})
_HEARING: Final = Capabilities(
    modalities=["text", "image", "document", "audio"], tools=True, parallel_tools=True, json_schema=True, reasoning=True
)  # fmt: skip
_TEXT: Final = Capabilities(modalities=["text"], tools=True, json_schema=True, reasoning=False)
_NO_SCHEMA: Final = {"json_schema": None}


class Known(NamedTuple):
    """What is known of a model; None where it isn't known."""

    context_window: int | None
    max_output_tokens: int | None
    capabilities: Capabilities


# Dates and `latest` at the end of a name are the same model; other endings are other models.
_DATED: Final = r"(?:[-@](?:latest|\d{4}-\d{2}-\d{2}|\d{8}))?(?:-v\d+(?::\d+)?)?"
_ROWS: Final[tuple[tuple[str, Known], ...]] = (
    # https://platform.claude.com/docs/en/models/overview and the pages of each model
    (r"claude-3-5-haiku", Known(200_000, 8_192, _SEEING.model_copy(update=_NO_SCHEMA))),
    (r"claude-3-7-sonnet", Known(200_000, 64_000, _THINKING.model_copy(update=_NO_SCHEMA))),
    (r"claude-sonnet-4(?:-0)?", Known(200_000, 64_000, _THINKING.model_copy(update=_NO_SCHEMA))),
    (r"claude-opus-4(?:-[01])?", Known(200_000, 32_000, _THINKING.model_copy(update=_NO_SCHEMA))),
    (r"claude-(?:sonnet|haiku|opus)-4-5", Known(200_000, 64_000, _THINKING)),
    (r"claude-(?:opus|sonnet)-5", Known(1_000_000, 128_000, _THINKING)),
    (r"claude-fable-5-1", Known(1_000_000, 128_000, _THINKING)),
    # https://platform.openai.com/docs/models and the pages of each model
    (r"gpt-4o(?:-mini)?", Known(128_000, 16_384, _SEEING)),
    (r"gpt-4\.1(?:-mini|-nano)?", Known(1_047_576, 32_768, _SEEING)),
    (r"gpt-5(?:-mini|-nano)?", Known(400_000, 128_000, _THINKING)),
    (r"(?:o1|o3|o4-mini)", Known(200_000, 100_000, _THINKING.model_copy(update={"parallel_tools": None}))),
    (r"gpt-3\.5-turbo", Known(16_385, 4_096, _TEXT.model_copy(update={"json_schema": False}))),
    # https://ai.google.dev/gemini-api/docs/models and the pages of each model
    (r"gemini-2\.0-flash(?:-\d{3})?", Known(1_048_576, 8_192, _HEARING.model_copy(update={"reasoning": None}))),
    (r"gemini-2\.5-(?:pro|flash|flash-lite)", Known(1_048_576, 65_535, _HEARING)),
    # https://docs.cohere.com/docs/models
    (r"command-r(?:-plus)?(?:-08-2024)?", Known(128_000, 4_096, _TEXT.model_copy(update={"reasoning": None}))),
    (r"command-a-03-2025", Known(256_000, 8_192, _TEXT.model_copy(update={"reasoning": None}))),
)
_COMPILED: Final = tuple((re.compile(name + _DATED), known) for name, known in _ROWS)
# What clouds put before a vendor's own name: a region, the vendor, a path.
_BEFORE: Final = re.compile(r"^(?:.*/)?(?:[a-z-]{2,6}\.)?(?:anthropic|openai|cohere|google)?\.?(?=[a-z])")


def known_of(vendor_model: str) -> Known | None:
    """What is known of a model by its name at a vendor."""
    name = vendor_model.lower()
    for form in (name, _BEFORE.sub("", name, count=1)):
        for pattern, known in _COMPILED:
            if pattern.fullmatch(form):
                return known
    return None
