"""Committed offsets that can't be told now are an error, never "none committed"."""

import inspect
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupLoadInProgressError, NoError, NotCoordinatorForGroupError
from aiokafka.protocol.commit import OffsetFetchRequest, OffsetFetchResponse_v3

from streams import group_offsets

REQUEST = OffsetFetchRequest("group", [("topic", [0])])


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the broker answers next."""
    answers: list[Any] = []

    async def send(self: AIOKafkaClient, node_id: int, request: Any, **options: Any) -> Any:
        return answers.pop(0)

    monkeypatch.setattr(group_offsets, "_send", send)
    return answers


def client() -> AIOKafkaClient:
    return AIOKafkaClient.__new__(AIOKafkaClient)


@pytest.mark.parametrize("error", [GroupLoadInProgressError, NotCoordinatorForGroupError])
async def test_an_error_of_the_group_is_raised(answer: list[Any], error: Any) -> None:
    answer.append(OffsetFetchResponse_v3(0, [], error.errno))
    with pytest.raises(error):
        await client().send(1, REQUEST)
    assert error.retriable, "aiokafka asks again after retriable errors only"


async def test_an_answer_without_error_is_passed_on(answer: list[Any]) -> None:
    offsets = [("topic", [(0, 5, "", NoError.errno)])]
    answer.append(OffsetFetchResponse_v3(0, offsets, NoError.errno))
    assert (await client().send(1, REQUEST)).topics == offsets


def test_aiokafka_still_asks_for_offsets_through_its_client() -> None:
    """The two places that would otherwise take the group's error for an answer."""
    assert "self._client.send(" in inspect.getsource(GroupCoordinator._send_req)
    assert "self._send_req(request)" in inspect.getsource(GroupCoordinator._do_fetch_commit_offsets)
    assert "self._client.send(" in inspect.getsource(AIOKafkaAdminClient._send_request)
    assert "self._send_request(request" in inspect.getsource(AIOKafkaAdminClient.list_consumer_group_offsets)


def test_every_reader_of_committed_offsets_is_covered() -> None:
    """Whoever reads offsets imports the check."""
    import streams.cli.lags
    import streams.faust_adapter
    import streams.outbox.reading
    import streams.services.call.opening
    import streams.services.relay

    modules = (
        streams.cli.lags, streams.faust_adapter, streams.outbox.reading, streams.services.call.opening,
        streams.services.relay,
    )  # fmt: skip
    for module in modules:
        assert getattr(module, "group_offsets", None) is group_offsets, module.__name__
    assert AIOKafkaClient.send is group_offsets._checked
