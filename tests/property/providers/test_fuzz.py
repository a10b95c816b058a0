"""A small number of broken answers for every decoder; `python -m tests.fuzz_providers` makes many."""

import random

import pytest

from tests.fuzz_providers import Case, all_cases, fuzz


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_broken_answers_give_a_typed_error(case: Case, pytestconfig: pytest.Config) -> None:
    seed = random.Random(pytestconfig.option.hypothesis_seed).randrange(2**32)
    assert fuzz(case, seed, 600) == 600
