"""Publish one request with confluent-kafka: publish.py BROKERS REGISTRY_URL TENANT PROMPT [TOPIC]"""

import sys
import uuid

from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext


def publish(brokers: str, registry_url: str, tenant: str, prompt: str, topic: str = "llm.requests") -> str:
    """Publish a request and return its id once the broker has it safe."""
    # Sluice owns the schema: take the one that is registered instead of registering another.
    settings = {"auto.register.schemas": False, "use.latest.version": True}
    serializer = AvroSerializer(SchemaRegistryClient({"url": registry_url}), conf=settings)
    producer = Producer({"bootstrap.servers": brokers, "acks": "all", "enable.idempotence": True})
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failures.append(error)

    # The id is yours: publishing it again after a failure never does (or pays) the work twice.
    request_id = str(uuid.uuid4())
    request = {"id": request_id, "tenant": tenant, "prompt": prompt}
    value = serializer(request, SerializationContext(topic, MessageField.VALUE))
    producer.produce(topic, key=tenant, value=value, on_delivery=delivered)
    unsent = producer.flush(30)
    if failures or unsent:
        raise SystemExit(f"not published: {failures or 'the broker did not answer within 30 s'}")
    return request_id


if __name__ == "__main__":
    if len(sys.argv) not in (5, 6):
        raise SystemExit(__doc__)
    print(publish(*sys.argv[1:]))
