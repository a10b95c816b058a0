"""The embedded stack: real Kafka, schema registry, ClickHouse and a small model server on one machine."""
