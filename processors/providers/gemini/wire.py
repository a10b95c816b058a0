"""The part of Google's `generateContent` answers that Sluice reads; Gemini and Vertex AI are alike in it.

Usage is told with every chunk, each time as a whole. Its parts are reconciled with `totalTokenCount`, as models and
API versions differ in whether `candidatesTokenCount` holds the thoughts and `promptTokenCount` the tool prompts.
"""

from typing import Final

import msgspec

from processors.providers.bounds import LONGEST_TIER, LONGEST_USAGE, UNREADABLE, possible
from schemas.records import Usage

NO_RAW: Final = msgspec.Raw(b"null")
# The types of traffic that are tiers by other names.
_TIERS: Final = {"ON_DEMAND": "standard", "ON_DEMAND_PRIORITY": "priority", "ON_DEMAND_FLEX": "flex"}


class _Wire(msgspec.Struct, rename="camel"):
    pass


class FunctionCall(_Wire):
    name: str | None = None
    args: msgspec.Raw = NO_RAW
    id: str | None = None
    partial_args: msgspec.Raw = NO_RAW
    will_continue: bool | None = None


class Blob(_Wire):
    mime_type: str | None = None
    data: str | None = None


class FileData(_Wire):
    mime_type: str | None = None
    file_uri: str | None = None


class Part(_Wire):
    """A part; one that has none of these fields is of a kind that only Google knows."""

    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: FunctionCall | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None


class Content(_Wire):
    parts: list[Part] | None = None


class Candidate(_Wire):
    content: Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int | None = None


class PromptFeedback(_Wire):
    block_reason: str | None = None
    block_reason_message: str | None = None


class Chunk(_Wire):
    candidates: list[Candidate] | None = None
    usage_metadata: msgspec.Raw = NO_RAW
    model_version: str | None = None
    response_id: str | None = None
    prompt_feedback: PromptFeedback | None = None
    error: msgspec.Raw = NO_RAW


class _Modality(_Wire):
    modality: str | None = None
    token_count: int | None = None


class _Usage(_Wire):
    prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    thoughts_token_count: int | None = None
    total_token_count: int | None = None
    prompt_tokens_details: list[_Modality] | None = None
    candidates_tokens_details: list[_Modality] | None = None
    traffic_type: str | None = None


class _RawContent(_Wire):
    parts: list[msgspec.Raw]


class _RawCandidate(_Wire):
    content: _RawContent


class _RawChunk(_Wire):
    candidates: list[_RawCandidate]


chunk_decoder = msgspec.json.Decoder(Chunk)
chunks_decoder = msgspec.json.Decoder(list[Chunk])
_raw_decoder = msgspec.json.Decoder(_RawChunk)
_raws_decoder = msgspec.json.Decoder(list[_RawChunk])
_usage_decoder = msgspec.json.Decoder(_Usage)


def raw_part(text: bytes, place: int | None, candidate: int, part: int) -> bytes:
    """The JSON of a part of a chunk: of `text` itself, or of the item `place` of the list that it is."""
    chunk = _raw_decoder.decode(text) if place is None else _raws_decoder.decode(text)[place]
    return bytes(chunk.candidates[candidate].content.parts[part])


def usage_of(raw: bytes, *, whole: bool = True) -> Usage:
    """The vendor's usage object as ours. Counts that can't be true count as not told.

    `whole`: the answer has ended, so that a count which is left out is 0 (protocol buffers leave zeros out); before,
    an output that isn't told yet is unknown.
    """
    told = raw[:LONGEST_USAGE].decode(errors="replace")
    try:
        seen = _usage_decoder.decode(raw)
    except UNREADABLE:
        return Usage(raw=told)
    counts = (
        seen.prompt_token_count, seen.cached_content_token_count, seen.candidates_token_count,
        seen.tool_use_prompt_token_count, seen.thoughts_token_count, seen.total_token_count,
    )  # fmt: skip
    if seen.prompt_token_count is None or not possible(*counts):
        return Usage(raw=told)
    input_, output, exact = _reconciled(seen)
    cached, thoughts = seen.cached_content_token_count, seen.thoughts_token_count
    if (cached or 0) > input_ or (thoughts or 0) > output:
        return Usage(raw=told)
    unknown = seen.candidates_token_count is None and not whole
    return Usage(
        input_uncached=input_ - (cached or 0),
        cache_read=cached,
        output=None if unknown else output,
        reasoning=thoughts,
        tool_input=seen.tool_use_prompt_token_count,
        image_input=_of_modality(seen.prompt_tokens_details, "IMAGE"),
        audio_input=_of_modality(seen.prompt_tokens_details, "AUDIO"),
        audio_output=_of_modality(seen.candidates_tokens_details, "AUDIO"),
        estimated=not exact,
        raw=told,
        service_tier=_tier_of(seen.traffic_type),
    )


def _tier_of(traffic: str | None) -> str | None:
    """The service tier at which the call was served, as Vertex AI tells it (the Gemini API does so in a header)."""
    if not traffic or traffic == "TRAFFIC_TYPE_UNSPECIFIED" or len(traffic) > LONGEST_TIER:
        return None
    return _TIERS.get(traffic, traffic.lower())


def _reconciled(seen: _Usage) -> tuple[int, int, bool]:
    """(input, output, whether they add up to the total) by the reading of the parts that fits the total.

    Where none fits, what the total has beyond the parts was generated (thoughts that aren't told apart); a total below
    the parts is passed over.
    """
    prompt, tool = seen.prompt_token_count or 0, seen.tool_use_prompt_token_count or 0
    answer, thoughts = seen.candidates_token_count or 0, seen.thoughts_token_count or 0
    total = seen.total_token_count
    documented = (prompt + tool, answer + thoughts)
    if total is None:
        return *documented, True
    for input_, output in (
        documented,
        (prompt + tool, answer),
        (prompt, answer + thoughts),
        (prompt, answer),
    ):
        if input_ + output == total:
            return input_, output, True
    surplus = max(0, total - sum(documented))
    return documented[0], documented[1] + surplus, False


def _of_modality(details: list[_Modality] | None, modality: str) -> int | None:
    if details is None:
        return None
    counts = [one.token_count or 0 for one in details if one.modality == modality]
    return sum(counts) if possible(*counts) else None
