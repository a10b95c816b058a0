"""A record that fails again when handled alone: its request still gets an end."""

from processors.route.admit import Admission
from processors.route.draft import STAGE, Draft
from processors.route.emit import Source
from processors.route.finalise import finalise
from processors.route.fingerprints import fingerprint, source_name
from processors.route.open_request import FINAL, unpack
from processors.route.seams import ConfigLookup, Seams
from processors.route.settle import settle_unheard
from schemas import ids
from schemas.records import AuditEvent, ClassifiedRequest, Control, Outcome
from schemas.signals import Invalid

_CLASS = "internal"


def handle_poison(
    draft: Draft,
    record: ClassifiedRequest | Outcome | Control | None,
    source: Source,
    error: str,
    configs: ConfigLookup,
    seams: Seams,
) -> None:
    """Fail the request of a poison record, where one is known by it, and audit it."""
    version = configs.active()[0]
    tenant, request_id = "", None
    message = f"the event at {source_name(source)} could not be processed"
    if isinstance(record, ClassifiedRequest):
        tenant, request_id = record.request.tenant, record.request.id
        _fail_new(draft, record, message, configs, seams)
    elif isinstance(record, Outcome):
        tenant, request_id = record.tenant, record.request_id
        _fail_open(draft, record, message)
    elif record is not None:
        tenant, request_id = record.tenant or "", record.request_id
    draft.audit(
        AuditEvent(
            event_id=ids.event_id(tenant, request_id or "", f"audit.poisoned.{source_name(source)}"),
            tenant=tenant,
            action="poisoned",
            actor=STAGE,
            at=draft.now,
            config_version=version,
            sequence=0,
            previous_hash=b"",
            request_id=request_id,
            reason=error,
        )
    )


def _fail_new(
    draft: Draft, record: ClassifiedRequest, message: str, configs: ConfigLookup, seams: Seams
) -> None:
    admission = Admission(draft, record, configs.active()[1], seams)
    try:
        known = admission.known()
    except Invalid:
        return  # too old for a result; the dead letter of the poison record says so
    if not known:
        admission.accept()
        admission.end("failed", _CLASS, message)


def _fail_open(draft: Draft, outcome: Outcome, message: str) -> None:
    """Settle the attempt at worst case. Its request ends where it waits for this outcome: an attempt that follows
    still runs, and has an end of its own."""
    key = fingerprint("request", outcome.tenant, outcome.request_id)
    packed = draft.state.requests.get(key)
    if packed is None:
        return
    record = unpack(packed)
    if outcome.timings.accepted_at != record.accepted_at:
        return
    held = record.reservation(outcome.attempt)
    if held is not None and not held.settled_unknown:
        settle_unheard(draft, record, held, _CLASS)
    if record.status != FINAL and outcome.attempt == record.attempt:
        finalise(draft, key, record, "failed", error_class=_CLASS, message=message)
    else:
        draft.keep(key, record)
