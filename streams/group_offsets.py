"""Importing this module makes aiokafka notice when a group's committed offsets can't be told right now.

A coordinator that is loading (after a restart of its broker, or when it moves) answers OffsetFetch with an error for
the group and no partitions. aiokafka looks at the errors of partitions alone, so that `committed()` gives None, as if
nothing had ever been committed, and a whole topic is processed again. Here that answer becomes the error it is;
aiokafka's own loops wait and ask again.
"""

from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.commit import OffsetFetchRequest

_send = AIOKafkaClient.send


async def _checked(self: AIOKafkaClient, node_id: int, request: Any, **options: Any) -> Any:
    response = await _send(self, node_id, request, **options)
    if isinstance(request, OffsetFetchRequest) and (code := getattr(response, "error_code", 0)):
        raise for_code(code)("the group's offsets can't be read now")
    return response


AIOKafkaClient.send = _checked
