"""A reply topic that the relay may see and not write to, on a broker with access rules."""

from collections.abc import Callable

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from streams.local import kafka
from streams.local.stack import Stack
from tests.conftest import Admin
from tests.integration.relay_harness import copied, event_ids, letters, place, publish, relaying, true, until

RULES = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}


@pytest.fixture
def guarded_brokers(monkeypatch: pytest.MonkeyPatch, new_stack: Callable[[], Stack]) -> str:
    """A broker that denies what it is told to deny."""
    for name, value in RULES.items():
        monkeypatch.setitem(kafka.SETTINGS, name, value)
    return new_stack().up(["kafka"]).brokers


def forbid_writing(brokers: str, topic: str) -> None:
    def rule(operation: AclOperation, permission: AclPermissionType) -> AclBinding:
        who = "User:ANONYMOUS"
        return AclBinding(
            ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, who, "*", operation, permission
        )

    client = AdminClient({"bootstrap.servers": brokers})
    rules = [
        rule(AclOperation.ALL, AclPermissionType.ALLOW),
        rule(AclOperation.WRITE, AclPermissionType.DENY),
    ]
    for made in client.create_acls(rules).values():
        made.result(20)


async def test_a_topic_that_the_relay_may_not_write_to_blocks_nothing(
    guarded_brokers: str, topic_prefix: str
) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=guarded_brokers)
    await client.start()
    here = await place(Admin(client), guarded_brokers, topic_prefix, partitions=1)
    forbidden = f"{here.prefix}forbidden"
    await Admin(client).create(forbidden, partitions=2)
    await client.close()
    forbid_writing(guarded_brokers, forbidden)
    for n in range(0, 9, 3):
        await publish(here, range(n, n + 1), here.replies, partitions=1)
        await publish(here, range(n + 1, n + 3), forbidden, partitions=1)
    async with relaying(here) as (_, counts):
        await until(lambda: true(counts.made == 3 and len(counts.reasons) == 6))
        await publish(here, range(9, 10), here.replies, partitions=1)
        await until(lambda: true(counts.made == 4))
    assert await copied(here) == event_ids(0, 3, 6, 9)
    found = await letters(here)
    assert [letter.request_id for letter in found] == ["r1", "r2", "r4", "r5", "r7", "r8"]
    assert all("TopicAuthorizationFailed" in letter.message for letter in found)
