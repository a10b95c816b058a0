"""However an answer is cut into reads, every decoder makes the same of it."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.providers.base import ProviderFailure
from tests.fuzz_providers import Case, all_cases

# A decoder alone, not one whose input is framed by the test.
CASES = [case for case in all_cases() if case.make is not None and hasattr(case.make(), "output_bytes")]


def decoded(case: Case, data: bytes, places: list[int]) -> Any:
    """All that a decoder tells of `data`, read in the pieces between `places`."""
    assert case.make is not None
    decoder, deltas = case.make(), []
    try:
        for start, end in itertools.pairwise([0, *places, len(data)]):
            deltas += decoder.feed(data[start:end])
        told: Any = decoder.finish()
    except ProviderFailure as failure:
        # Deltas of the read that fails are lost with it; which they are depends on the cuts.
        told, deltas = (failure.error, failure.repeatable), []
    said = [(delta.kind, delta.text) for delta in deltas]
    return told, said, decoder.usage, decoder.output_bytes, decoder.vendor_response_id, decoder.vendor_model


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@given(data=st.data())
@settings(max_examples=25)
def test_splits_change_nothing(case: Case, data: st.DataObject) -> None:
    answer = data.draw(st.sampled_from(case.fixtures))
    cuts = data.draw(st.lists(st.integers(0, len(answer)), max_size=12))
    assert decoded(case, answer, sorted(cuts)) == decoded(case, answer, [])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_byte_by_byte_changes_nothing(case: Case) -> None:
    for answer in case.fixtures:
        whole, single = decoded(case, answer, []), decoded(case, answer, list(range(1, len(answer))))
        assert single == whole
