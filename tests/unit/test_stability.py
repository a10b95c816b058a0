"""When a transaction counts as hanging."""

from streams.services.stability import Stability


def test_a_stable_end_that_stands_still_before_records_is_a_hang() -> None:
    stability = Stability()
    assert stability.hanging_s("p", 5, 8, now=10.0) == 0
    assert stability.hanging_s("p", 5, 9, now=13.5) == 3.5


def test_a_stable_end_that_moves_is_none() -> None:
    stability = Stability()
    stability.hanging_s("p", 5, 8, now=10.0)
    assert stability.hanging_s("p", 6, 9, now=20.0) == 0
    assert stability.hanging_s("p", 6, 9, now=21.0) == 1


def test_a_partition_read_to_its_end_or_not_at_all_yet_is_none() -> None:
    stability = Stability()
    stability.hanging_s("p", 5, 8, now=10.0)
    assert stability.hanging_s("p", 8, 8, now=20.0) == 0
    assert stability.hanging_s("p", 5, 8, now=30.0) == 0
    assert stability.hanging_s("q", None, None, now=30.0) == 0


def test_partitions_do_not_mix_and_are_forgotten() -> None:
    stability = Stability()
    stability.hanging_s("p", 5, 8, now=10.0)
    assert stability.hanging_s("q", 5, 8, now=20.0) == 0
    stability.forget()
    assert stability.hanging_s("p", 5, 8, now=99.0) == 0
