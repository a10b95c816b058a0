"""Each writer of `llm.tenant-events` puts a tenant where Kafka's own murmur2 partitioner puts its key."""

import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as reference
from hypothesis import given
from hypothesis import strategies as st

from schemas.partition import murmur2, partition_of
from tests.strategies import texts


@given(st.binary(max_size=40))
def test_the_hash_is_kafkas(key: bytes) -> None:
    assert murmur2(key) == reference(key)


@given(texts, st.integers(1, 300))
def test_the_partition_is_the_default_partitioners(key: str, count: int) -> None:
    partitions = list(range(count))
    assert partition_of(key, count) == DefaultPartitioner()(key.encode(), partitions, partitions)


def test_a_topic_without_partitions_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one partition"):
        partition_of("acme", 0)
