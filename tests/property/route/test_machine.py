"""The route machine under any order of requests, repeats, outcomes, cancels, timers and crashes.

The model keeps what left the machine in committed transactions (`visible`) and what a crash would lose
(`pending`, with the inputs that the outbox would deliver again). Only committed call tasks get outcomes.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from processors.budget import Hold, Settlement
from processors.route.emit import Emit, Source
from processors.route.machine import Record
from processors.route.open_request import unpack
from schemas.audit_chain import verify
from schemas.config import Config
from schemas.records import AuditEvent, CallTask, DeadLetter, Outcome, Problem, ResultEvent, Usage, UsageEvent
from schemas.signals import Invalid
from tests.unit.route.world import World, config, control, outcome, problem, records_of

pytestmark = pytest.mark.timeout(900)  # a failure takes minutes to shrink
HOUR = 3600
RETENTION_MS = 24 * HOUR * 1000
TENANTS = ["acme", "wary", "wary", "strict"]
ERRORS = ["rate_limited", "truncated", "invalid_request", "auth", "context_exceeded", "provider_error"]
STATUSES = ["succeeded", "failed", "failed", "returned", "unknown", "unknown", "cancelled", "expired"]
indexes = st.integers(0, 1000)
request_ids = st.sampled_from([f"r{i}" for i in range(6)])


def small_cap(cap: int) -> Config:
    """A configuration whose dedupe memory holds a handful of entries, fewer than its validation allows."""
    base = config()
    return base.model_copy(update={"defaults": base.defaults.model_copy(update={"dedupe_max_entries": cap})})


class Books:
    """A budget that only keeps what it is told."""

    def __init__(self) -> None:
        self.held: set[Hold] = set()

    def check(self, hold: Hold, settled: Sequence[Settlement]) -> Problem | None:
        return None

    def hold(self, hold: Hold) -> None:
        assert hold not in self.held
        self.held.add(hold)

    def settle(self, settlement: Settlement) -> None:
        assert (settlement.hold in self.held) == (not settlement.correction)
        self.held.discard(settlement.hold)

    def restore(self, partition: int, holds: Iterable[Hold]) -> None:
        self.held = set(holds)


class RouteMachineModel(RuleBasedStateMachine):
    @initialize(cap=st.sampled_from([200_000, 6]))
    def start(self, cap: int) -> None:
        self.books = Books()
        self.world = World(small_cap(cap), budget=self.books)
        self.visible: list[Emit] = []
        self.pending: list[Emit] = []
        self.inputs: list[tuple[str, Record, Source]] = []
        self.requests: list[Any] = []
        self.saved = self.world.machine.state.snapshot()
        self.accepted_at: dict[tuple[str, str], int] = {}

    # what happens -------------------------------------------------------------------------------------------

    @rule(
        id_=request_ids,
        tenant=st.sampled_from(TENANTS),
        key=st.sampled_from([None, None, "k0", "k1"]),
        prompt=st.sampled_from(["one", "one", "two"]),
        model=st.sampled_from([None, None, "fast", "large"]),
        candidates=st.sampled_from([[], [], ["small", "large"]]),
        max_cost=st.sampled_from([None, None, "0.001", "0.003", "0.012"]),
        lives_s=st.sampled_from([5, 60, 600, 6 * HOUR]),
        age_s=st.sampled_from([0, 0, 1, 4]),
        oddity=st.sampled_from([None] * 8 + ["broken", "past its deadline", "old", "ancient", "unroutable"]),
    )
    def submit(self, oddity: str | None, lives_s: int, age_s: int, **plain: Any) -> None:
        now = self.world.clock.now
        age_s = {"old": HOUR, "ancient": 25 * HOUR}.get(oddity or "", age_s)
        request = self.world.request(
            plain["id_"],
            plain["tenant"],
            accepted_at=now - age_s * 1000,
            deadline_at=now + (-1 if oddity == "past its deadline" else lives_s) * 1000,
            problems=[problem()] if oddity == "broken" else [],
            lane="batch" if plain["key"] else "standard",
            prompt=plain["prompt"],
            idempotency_key=plain["key"],
            model="unheard-of" if oddity == "unroutable" else plain["model"],
            candidate_models=plain["candidates"],
            max_cost=plain["max_cost"] and Decimal(plain["max_cost"]),
        )
        self.requests.append(request)
        self.feed(request)

    @precondition(lambda self: bool(self.requests))
    @rule(pick=indexes)
    def classify_repeats(self, pick: int) -> None:
        """The same source again: where it was accepted and isn't forgotten, nothing happens."""
        request = self.requests[pick % len(self.requests)]
        offsets = [msgspec.json.decode(e.details)["source_offset"] for e in self.accepted()]
        watermark = max(self.world.machine.state.dedupe.watermark, self.world.clock.now - RETENTION_MS)
        emitted = self.feed(request)
        if request.source_offset in offsets and request.accepted_at >= watermark:
            assert emitted == []

    @precondition(lambda self: bool(self.tasks()))
    @rule(
        age=st.integers(0, 3),
        status=st.sampled_from(STATUSES),
        error=st.sampled_from(ERRORS),
        retriable=st.booleans(),
        maybe_paid=st.booleans(),
        used=st.booleans(),
    )
    def outcome_arrives(
        self, age: int, status: str, error: str, retriable: bool, maybe_paid: bool, used: bool
    ) -> None:
        """Of the last attempts issued, late ones too, repeated or contradicting what was said before."""
        if self.pending:
            self.commit()  # the call stage sees committed tasks only
        tasks = self.tasks()
        task = tasks[-1 - age % len(tasks)]
        if status == "failed":
            told = outcome(task, status, error, retriable=retriable, maybe_paid=maybe_paid)
        else:
            told = outcome(task, status)
        if used and status == "failed":
            told.usage, told.cost = Usage(input_uncached=1, output=1), Decimal("0.000000003")
        self.feed(told)

    @precondition(lambda self: bool(self.tasks()))
    @rule(age=indexes, status=st.sampled_from(["succeeded", "unknown", "failed"]))
    def outcome_repeats(self, age: int, status: str) -> None:
        """Of any attempt ever issued."""
        self.outcome_arrives(age, status, "provider_error", True, False, True)

    @precondition(lambda self: bool(self.requests))
    @rule(pick=indexes, number=st.integers(0, 5), early=st.sampled_from([False, False, False, True]))
    def cancel(self, pick: int, number: int, early: bool) -> None:
        """Of a request submitted, or of one that may come later."""
        request = self.requests[pick % len(self.requests)].request
        id_ = f"r{number}" if early else request.id
        self.feed(control("cancel", id_, request.tenant, event_id=f"cancel-{request.tenant}-{id_}-{number}"))

    @precondition(lambda self: bool(self.letters()))
    @rule(pick=indexes, resolution=st.sampled_from(["retry", "fail", "perhaps"]), number=st.integers(0, 3))
    def resolve(self, pick: int, resolution: str, number: int) -> None:
        letters = self.letters()
        letter = letters[-1 - pick % min(2, len(letters))]
        task = msgspec.json.decode(letter.value or b"", type=Outcome).task
        command = control("resolve", letter.request_id, letter.claimed_tenant, resolution=resolution)
        command.task = task
        command.event_id = f"resolve-{letter.id}-{resolution}-{number}"
        self.feed(command)

    @precondition(lambda self: bool(self.requests))
    @rule(what=st.sampled_from(["pause", "redrive", "poison request", "poison outcome"]), pick=indexes)
    def something_rare(self, what: str, pick: int) -> None:
        tasks = self.tasks()
        if what == "poison request":
            self.feed(self.requests[pick % len(self.requests)], "poison")
        elif what == "poison outcome" and tasks:
            self.feed(outcome(tasks[pick % len(tasks)]), "poison")
        elif not what.startswith("poison"):
            self.feed(control(what, None, model="small", event_id=f"{what}-{pick % 3}"))

    @rule(seconds=st.sampled_from([1, 1, 4, 4, 40, 400, HOUR, 25 * HOUR]), commits=st.booleans())
    def time_passes(self, seconds: int, commits: bool) -> None:
        """Timers fire; a crash before they are committed leaves them to fire again."""
        self.pending += self.world.wait(seconds)
        if commits:
            self.commit()

    @rule()
    def commit(self) -> None:
        """The transaction of a micro-batch: outputs, changelog and offsets together."""
        self.world.flush()
        self.visible += self.pending
        self.pending, self.inputs = [], []
        self.saved = self.world.machine.state.snapshot()
        for compact in (True, False):
            assert self.world.reopen(compact).state.snapshot() == self.saved

    @rule(compact=st.booleans())
    def crash(self, compact: bool) -> None:
        """What wasn't committed is lost; its inputs come again to a machine made from the changelog."""
        self.world.machine = self.world.reopen(compact)
        assert self.world.machine.state.snapshot() == self.saved
        self.pending, again = [], self.inputs
        self.inputs = []
        self.accepted_at = {(e.tenant, e.request_id or ""): e.accepted_at or 0 for e in self.accepted()}
        for how, record, source in again:
            self.deliver(how, record, source)

    # the machine's surroundings -----------------------------------------------------------------------------

    def feed(self, record: Record, how: str = "handle") -> list[Emit]:
        return self.deliver(how, record, self.world.next_source())

    def deliver(self, how: str, record: Record, source: Source) -> list[Emit]:
        self.inputs.append((how, record, source))
        machine = self.world.machine
        before = machine.state.progress, dict(machine.state.requests)
        watermark = max(machine.state.dedupe.watermark, self.world.clock.now - RETENTION_MS)
        try:
            poisoned = how == "poison"
            emits = machine.poison(record, source, "boom") if poisoned else machine.handle(record, source)
        except Invalid as signal:
            assert signal.reason == "too_old"
            assert before == (machine.state.progress, machine.state.requests)
            return []
        self.pending += emits
        for event in records_of(emits, AuditEvent):
            if event.action == "accepted":
                key = (event.tenant, event.request_id or "")
                assert self.accepted_at.get(key, 0) < watermark, "accepted twice within what dedupe covers"
                self.accepted_at[key] = event.accepted_at or 0
        return emits

    def letters(self) -> list[DeadLetter]:
        return records_of(self.visible, DeadLetter)

    def tasks(self) -> list[CallTask]:
        return records_of(self.visible + self.pending, CallTask)

    def accepted(self) -> list[AuditEvent]:
        return [e for e in records_of(self.visible + self.pending, AuditEvent) if e.action == "accepted"]

    # what must hold -----------------------------------------------------------------------------------------

    @invariant()
    def counters_are_right(self) -> None:
        results = self.results()
        assert self.world.machine.accepted == len(self.accepted())
        assert self.world.machine.terminal == sum(results.values())

    @invariant()
    def at_most_one_terminal_result(self) -> None:
        accepted = Counter((e.tenant, e.request_id, e.accepted_at) for e in self.accepted())
        for key, count in self.results().items():
            assert count <= accepted[key], f"{key}: {count} terminal results, accepted {accepted[key]} times"

    @invariant()
    def each_attempt_is_settled_once(self) -> None:
        settled: dict[tuple[Any, ...], list[UsageEvent]] = defaultdict(list)
        for event in records_of(self.visible + self.pending, UsageEvent):
            settled[event.tenant, event.request_id, event.accepted_at, event.attempt].append(event)
        for events in settled.values():
            first, *corrections = events
            assert first.corrects is None
            assert len(corrections) <= 1
            for correction in corrections:
                assert first.status == "unknown"
                assert (correction.corrects, correction.status != "unknown") == (first.event_id, True)

    @invariant()
    def no_call_follows_the_end(self) -> None:
        ended: set[tuple[Any, ...]] = set()
        last: dict[tuple[Any, ...], int] = defaultdict(int)
        for emit in self.visible + self.pending:
            record = emit.record
            if isinstance(record, CallTask):
                key = (record.tenant, record.request_id, record.accepted_at)
                assert key not in ended
                assert record.attempt == last[key] + 1
                last[key] = record.attempt
            elif isinstance(record, ResultEvent) and record.kind == "terminal":
                ended.add((record.tenant, record.request_id, record.accepted_at))

    @invariant()
    def no_request_can_cost_more_than_it_may(self) -> None:
        spent: dict[tuple[Any, ...], dict[int, Decimal]] = defaultdict(dict)
        for emit in self.visible + self.pending:
            record = emit.record
            if isinstance(record, UsageEvent):
                key = (record.tenant, record.request_id, record.accepted_at)
                spent[key][record.attempt] = record.cost or Decimal(0)
            elif isinstance(record, CallTask) and record.request.max_cost is not None:
                key = (record.tenant, record.request_id, record.accepted_at)
                assert record.worst_case_cost is not None
                assert sum(spent[key].values()) + record.worst_case_cost <= record.request.max_cost

    @invariant()
    def the_budget_holds_what_is_not_settled(self) -> None:
        held = Counter((h.tenant, h.request_id, h.attempt) for h in self.books.held)
        records = map(unpack, self.world.machine.state.requests.values())
        assert held == Counter(
            (r.tenant, r.request_id, x.attempt)
            for r in records
            for x in r.reservations
            if not x.settled_unknown
        )

    @invariant()
    def audit_chain_verifies(self) -> None:
        assert verify(records_of(self.visible + self.pending, AuditEvent)) == []

    def results(self) -> Counter[tuple[Any, ...]]:
        found = records_of(self.visible + self.pending, ResultEvent)
        return Counter((r.tenant, r.request_id, r.accepted_at) for r in found if r.kind == "terminal")

    def teardown(self) -> None:
        """Time passes: each request accepted gets its end, each attempt its settlement."""
        if not hasattr(self, "world"):
            return
        self.time_passes(7 * HOUR, True)
        assert self.results() == Counter((e.tenant, e.request_id, e.accepted_at) for e in self.accepted())
        self.time_passes(25 * HOUR, True)
        self.time_passes(25 * HOUR, True)
        issued = Counter((t.attempt_id, t.accepted_at) for t in records_of(self.visible, CallTask))
        settlements = [u for u in records_of(self.visible, UsageEvent) if u.corrects is None]
        assert Counter((u.attempt_id, u.accepted_at) for u in settlements) == issued
        assert self.world.machine.state.requests == {}
        assert self.world.machine.next_due() is None or self.world.machine.state.dedupe.count


TestRouteMachine = RouteMachineModel.TestCase
TestRouteMachine.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
