"""Events as the sink reads them, told apart by a number."""

from decimal import Decimal

import msgspec

from schemas.records import (
    Attempt,
    AuditEvent,
    DeadLetter,
    Feedback,
    ResultEvent,
    Timings,
    Usage,
    UsageEvent,
)

T0 = 1_760_000_000_000
CONFIG = "c0ffee" * 10


def usage(n: int) -> UsageEvent:
    return UsageEvent(
        event_id=f"usage-{n}",
        request_id=f"request-{n}",
        tenant=f"tenant-{n % 7}",
        attempt=1,
        attempt_id=f"attempt-{n}",
        tries=1,
        status="succeeded",
        model="small",
        config_version=CONFIG,
        accepted_at=T0 + n,
        recorded_at=T0 + n + 250,
        usage=Usage(input_uncached=100 + n, output=20, raw='{"prompt_tokens":100,"completion_tokens":20}'),
        cost=Decimal("0.000123000"),
        provider="local",
        deployment="local-1",
        vendor_model="small-1",
        timings=Timings(
            accepted_at=T0 + n, issued_at=T0 + n + 5, started_at=T0 + n + 9, completed_at=T0 + n + 240
        ),
        lane="standard",
        task_type="chat",
        application="desk",
        user=f"user-{n % 100}",
        session_id=f"session-{n % 50}",
        metadata={"order": str(n)},
    )


def result(n: int, kind: str = "terminal") -> ResultEvent:
    return ResultEvent(
        event_id=f"result-{n}",
        kind=kind,
        request_id=f"request-{n}",
        tenant=f"tenant-{n % 7}",
        status="succeeded" if kind == "terminal" else kind,
        config_version=CONFIG,
        accepted_at=T0 + n,
        completed_at=T0 + n + 250,
        text=f"Answer {n}: здравствуйте, 你好, 🙂" if kind == "terminal" else None,
        model="small",
        attempts=1,
        usage=Usage(input_uncached=100, output=20),
        cost=Decimal("0.000123000"),
        tags=["a", "b"],
        metadata={"order": str(n)},
    )


def audit(n: int, action: str = "accepted") -> AuditEvent:
    details = {
        "source_topic": "llm.requests",
        "source_partition": 3,
        "source_offset": n,
        "input_tokens_estimate": 100,
        "deadline_at": T0 + 60_000,
        "candidates": ["small", "large"],
        "rule": "rule 2",
        "why": "rule 2: first healthy",
        "worst_case_cost": Decimal("0.01"),
    }
    return AuditEvent(
        event_id=f"audit-{action}-{n}",
        tenant=f"tenant-{n % 7}",
        action=action,
        actor="route",
        at=T0 + n,
        config_version=CONFIG,
        sequence=n + 1,
        previous_hash=bytes(32),
        request_id=f"request-{n}",
        model="small",
        details=msgspec.json.encode(details).decode(),
        accepted_at=T0 + n,
        lane="standard",
        task_type="chat",
        data_classes=["public"],
    )


def attempt(n: int, phase: str = "started") -> Attempt:
    return Attempt(
        phase=phase,
        attempt_id=f"attempt-{n}",
        request_id=f"request-{n}",
        tenant=f"tenant-{n % 7}",
        attempt=1,
        try_=1,
        model="small",
        call_topic="llm.calls.small.standard",
        call_partition=0,
        call_offset=n,
        at=T0 + n,
        must_end_by=T0 + n + 60_000,
        worker="call-1",
    )


def feedback(n: int) -> Feedback:
    return Feedback(
        request_id=f"request-{n}", tenant=f"tenant-{n % 7}", at=T0 + n, score=0.5, label="good",
        comment=f"Très bien {n}", source="reviewer", metadata={"order": str(n)},
    )  # fmt: skip


def dead_letter(n: int) -> DeadLetter:
    return DeadLetter(
        id=f"llm.requests-0-{n}",
        kind="undecodable",
        stage="classify",
        reason="undecodable",
        message="publish an Avro record",
        at=T0 + n,
        source_topic="llm.requests",
        source_partition=0,
        source_offset=n,
        source_timestamp=T0 + n,
        value=b"\x00\xff\xfe not utf-8",
    )
