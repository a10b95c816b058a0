"""What the adapters' FEATURES claim is what they do: the providers' pages are made of it."""

import pytest

from tests.provider_kinds import KINDS, REQUESTS, proofs, support
from tests.provider_proofs import REAL, SIMULATED

CLAIMS = [(name, feature) for name in KINDS for feature in REQUESTS]


@pytest.mark.parametrize(("name", "feature"), CLAIMS, ids=lambda value: value)
def test_a_claim_is_what_the_adapter_does(name: str, feature: str) -> None:
    kind = KINDS[name]
    assert support(kind, feature) == kind.features[feature].support


@pytest.mark.parametrize("name", KINDS)
def test_what_is_supported_is_proven(name: str) -> None:
    kind = KINDS[name]
    bare = {f for f, claim in kind.features.items() if claim.support == "yes" and not proofs(name)[f]}
    # By servers that speak another's wire, whose own fixtures prove it; by code that a fixture of another has run.
    assert bare <= {"embeddings", "thinking_back", "signatures", "vendor_parts"}


def test_proofs_are_of_what_there_is() -> None:
    for table in (REAL, SIMULATED):
        for name, features in table.items():
            assert set(features) <= set(KINDS[name].features), name
