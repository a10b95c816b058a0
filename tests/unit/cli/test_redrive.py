"""What is sent again, what is refused, and what a decision about a quarantined request came to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from schemas import ids, names
from schemas.codec import Codec
from schemas.config import Config
from schemas.records import Control, DeadLetter
from schemas.registry import SchemaStore
from sinks.erasure_scope import Order
from streams.cli import redrive
from streams.cli.erased import order_of
from streams.cli.failure import Refused, TimedOut
from streams.cli.kafka import Record
from tests.unit.route.world import World, outcome
from tests.unit.test_config_rules import config

CODEC = Codec(SchemaStore())


def letter(value: bytes, reason: str = "poison", stage: str = "route") -> DeadLetter:
    return DeadLetter(
        id="llm.tenant-events-3-7", kind=reason, stage=stage, reason=reason, message="m", at=1,
        source_topic=names.TENANT_EVENTS, source_partition=3, source_offset=7, source_timestamp=1, value=value,
    )  # fmt: skip


class Cluster:
    """What the commands find and write; `says` is route's answer: its status and reason."""

    def __init__(self, found: DeadLetter, says: tuple[str, str | None] | None = None) -> None:
        self.found, self.says = found, says
        self.written: list[Record] = []
        self.orders: list[Order] = []

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def given(value: Any) -> Any:
            return value

        async def write(brokers: str, records: list[Record], *transactional_id: str) -> None:
            self.written += records

        @asynccontextmanager
        async def open_codec(place: object) -> AsyncIterator[Codec]:
            yield CODEC

        replaced = {
            "where": lambda: SimpleNamespace(brokers="b", app_id="sluice"),
            "required": lambda brokers: given(("v", Config.model_validate(config()))),
            "open_codec": open_codec,
            "states": lambda place, codec: given({}),
            "orders_on_record": lambda place, codec, config: given(self.orders),
            "find": lambda place, codec, letter_id: given(self.found),
            "require_topics": lambda brokers, topics: given(None),
            "write": write,
            "read": self.read,
        }
        for name, value in replaced.items():
            monkeypatch.setattr(redrive, name, value)
        monkeypatch.setattr(redrive, "_WAIT_S", 0.05)

    async def read(self, brokers: str, topic: str, span: Any) -> AsyncIterator[Any]:
        """The audit topic with another command's event before the one about the command that was written."""
        control = CODEC.decode(self.written[-1].value, Control)
        assert (topic, span.tenant, span.follow) == (names.AUDIT, control.tenant, True)
        if self.says is None:
            return
        world = World()
        world.submit("r1", "wary")
        events = []
        for command in (Control(event_id="other", command="resolve", at=1, actor="bob"), control):
            command.tenant, command.request_id = "wary", "r1"
            event = world.feed(command)[0].record
            event.status, event.reason = self.says  # type: ignore[attr-defined]
            events.append(event)
        for event in events:
            value = CODEC.encode(event, names.AUDIT)
            event_id = event.event_id.encode()  # type: ignore[attr-defined]
            yield SimpleNamespace(headers=((names.HEADER_EVENT_ID, event_id),), value=value)


class TestRedrive:
    async def test_a_poisoned_request_is_refused_for_it_has_ended(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Sent again it would be taken for a repetition, and nothing would happen."""
        cluster = Cluster(letter(CODEC.encode(World().request(), names.TENANT_EVENTS)))
        cluster.patch(monkeypatch)
        with pytest.raises(Refused) as refused:
            await redrive.redrive_all(["x"], None, as_json=False)
        assert "ended as failed" in refused.value.message and "submit" in (refused.value.hint or "")
        assert cluster.written == []

    async def test_a_letter_that_an_erasure_covers_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Sent again, its texts would come back under a request accepted after the erasure."""
        erase = Control(event_id="o", command="erase", at=5, actor="ann", tenant="acme", user="ada")
        ordered = order_of(erase, Config.model_validate(config()))
        cluster = Cluster(letter(b'{"tenant": "acme", "user": "ada"', "unreadable"))
        assert ordered is not None
        cluster.orders = [ordered]
        cluster.patch(monkeypatch)
        with pytest.raises(Refused, match="erasure o") as refused:
            await redrive.redrive_all(["x"], None, as_json=False)
        assert "discard" in (refused.value.hint or "") and cluster.written == []
        cluster.found = letter(b'{"tenant": "acme", "user": "bob"', "unreadable")
        await redrive.redrive_all(["x"], None, as_json=False)
        assert len(cluster.written) == 2

    @pytest.mark.parametrize("what", ["outcome", "command", "unreadable", "a request too old"])
    async def test_other_records_of_route_are_sent_again(
        self, monkeypatch: pytest.MonkeyPatch, what: str
    ) -> None:
        world = World()
        command = Control(event_id="e", command="pause", at=1, actor="ann", model="m")
        values = {
            "outcome": CODEC.encode(outcome(world.submit()), names.TENANT_EVENTS),
            "command": CODEC.encode(command, names.TENANT_EVENTS),
            "a request too old": CODEC.encode(world.request("r2"), names.TENANT_EVENTS),
        }
        found = letter(values.get(what, b"?"), "too_old" if what == "a request too old" else "poison")
        cluster = Cluster(found)
        cluster.patch(monkeypatch)
        await redrive.redrive_all(["x"], None, as_json=False)
        original, _ = cluster.written
        assert (original.topic, original.partition, original.value) == (names.TENANT_EVENTS, 3, found.value)


class TestResolve:
    def cluster(self, monkeypatch: pytest.MonkeyPatch, says: tuple[str, str | None] | None) -> Cluster:
        unknown = outcome(World().submit("r1", "wary"), "unknown")
        made = Cluster(letter(CODEC.encode(unknown, names.TENANT_EVENTS), "quarantine"), says)
        made.patch(monkeypatch)
        return made

    async def test_says_resolved_once_route_has_obeyed(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        cluster = self.cluster(monkeypatch, ("retry", None))
        await redrive.resolve_one("x", "retry", None, as_json=True)
        assert '"state": "resolved"' in capsys.readouterr().out
        control = CODEC.decode(cluster.written[0].value, Control)
        assert control.task is not None and control.task.request_id == "r1"

    async def test_tells_of_a_refusal(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A letter outlives its request, which ends at its deadline whoever looks at it."""
        self.cluster(monkeypatch, ("refused", "the request isn't quarantined"))
        with pytest.raises(Refused, match="the request isn't quarantined"):
            await redrive.resolve_one("x", "fail", None, as_json=True)
        assert capsys.readouterr().out == ""

    async def test_does_not_claim_what_nobody_confirmed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cluster(monkeypatch, None)
        with pytest.raises(TimedOut):
            await redrive.resolve_one("x", "fail", None, as_json=False)


def test_the_event_looked_for_is_the_one_that_route_writes() -> None:
    world = World()
    control = Control(event_id="e1", command="resolve", at=1, actor="ann", tenant="wary", request_id="r1")
    control.resolution = "fail"
    world.feed(outcome(world.submit("r1", "wary"), "unknown"))
    emits = world.feed(control)
    made = ids.event_id("wary", "e1", "audit.resolved")
    assert (
        dict(next(e for e in emits if e.topic == names.AUDIT).headers)[names.HEADER_EVENT_ID] == made.encode()
    )
