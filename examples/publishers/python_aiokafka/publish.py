"""Publish one request with aiokafka and fastavro: publish.py BROKERS REGISTRY_URL TENANT PROMPT [TOPIC]"""

import asyncio
import io
import json
import struct
import sys
import uuid

import fastavro
import httpx
from aiokafka import AIOKafkaProducer


async def publish(
    brokers: str, registry_url: str, tenant: str, prompt: str, topic: str = "llm.requests"
) -> str:
    """Publish a request and return its id once the broker has it safe."""
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"{registry_url}/subjects/{topic}-value/versions/latest")
        answer.raise_for_status()
    registered = answer.json()
    schema = fastavro.parse_schema(json.loads(registered["schema"]))

    # The id is yours: publishing it again after a failure never does (or pays) the work twice.
    request_id = str(uuid.uuid4())
    value = io.BytesIO()
    value.write(struct.pack(">bI", 0, registered["id"]))  # Confluent's wire format: 0, then the schema's id
    fastavro.schemaless_writer(value, schema, {"id": request_id, "tenant": tenant, "prompt": prompt})

    producer = AIOKafkaProducer(bootstrap_servers=brokers, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        await producer.send_and_wait(topic, value.getvalue(), key=tenant.encode())
    finally:
        await producer.stop()
    return request_id


if __name__ == "__main__":
    if len(sys.argv) not in (5, 6):
        raise SystemExit(__doc__)
    print(asyncio.run(publish(*sys.argv[1:])))
