"""What the relay's unit tests share."""

from aiokafka import TopicPartition
from aiokafka.errors import MessageSizeTooLargeError

from schemas import names
from schemas.codec import Codec
from schemas.records import ResultEvent
from streams.services.relay_contract import Copy, RelaySettings

SETTINGS = RelaySettings("nowhere:1", "app", transaction_timeout_ms=100, transaction_grace_ms=0)
SOURCE = TopicPartition(names.RESULTS, 0)
TOO_LARGE = MessageSizeTooLargeError()


def copy(topic: str, value: bytes = b"") -> Copy:
    return Copy(topic, b"key", value, (), None)


def refusal(copy: Copy, error: Exception) -> Copy:
    return Copy("dead", b"", copy.value, (), None, refused=type(error).__name__)


class Record:
    """A ConsumerRecord as far as it is read."""

    topic, partition, offset, timestamp, key, headers = names.RESULTS, 0, 7, 1, b"acme", ()

    def __init__(self, codec: Codec, reply_topic: str, retention_days: int | None = None) -> None:
        event = ResultEvent(
            event_id="e", kind="terminal", request_id="r", tenant="acme", status="succeeded",
            config_version="v", accepted_at=1, completed_at=2, reply_topic=reply_topic,
            retention_days=retention_days,
        )  # fmt: skip
        self.value = codec.encode(event, names.RESULTS)
