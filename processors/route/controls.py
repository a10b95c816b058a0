"""Commands of callers and operators."""

from typing import Final

from processors.route.draft import Draft, json_text
from processors.route.finalise import finalise
from processors.route.fingerprints import fingerprint, halves
from processors.route.next_step import UNKNOWN_OUTCOME, Again
from processors.route.open_request import FINAL, QUARANTINED, OpenRequest, unpack
from processors.route.outcomes import again
from processors.route.seams import ConfigLookup, Seams
from processors.route.segment import Entry
from schemas import ids
from schemas.records import AuditEvent, CallTask, Control
from schemas.signals import Invalid

_AUDITED: Final = {
    "pause": "paused",
    "resume": "resumed",
    "redrive": "redriven",
    "discard": "discarded",
    "erase": "erasure_ordered",
    "hold": "legal_hold_placed",
    "release": "legal_hold_released",
}


def handle_control(draft: Draft, control: Control, configs: ConfigLookup, seams: Seams) -> None:
    """Obey a command once, however often it repeats. Its id is told apart from those that others gave theirs.

    Raises Invalid where the command isn't known or names no request.
    """
    name = "\x1f".join((control.event_id, control.command, control.request_id or ""))
    print_ = fingerprint("command", control.tenant or "", name)
    if draft.state.dedupe.find(print_) is not None:
        return
    version = configs.active()[0]
    if control.command == "cancel":
        _cancel(draft, control, _request_key(control), version)
    elif control.command == "resolve":
        _resolve(draft, control, _request_key(control), configs, seams)
    elif control.command in _AUDITED:
        audit_control(draft, control, _AUDITED[control.command], version)
    else:
        known = ", ".join(["cancel", "resolve", *_AUDITED])
        raise Invalid("unknown_command", f"no command {control.command!r}: use one of {known}")
    draft.remember(Entry(*halves(print_)), draft.now)


def _request_key(control: Control) -> bytes:
    if not control.tenant or not control.request_id:
        raise Invalid("incomplete_command", f"{control.command} needs tenant and request_id")
    return fingerprint("request", control.tenant, control.request_id)


def _cancel(draft: Draft, control: Control, key: bytes, version: str) -> None:
    """End an open request, whose attempts stay on record; remember the cancel of one not seen yet.

    Each is audited. The call stage obeys the command too, and where its outcome ends the request first, this says
    who gave it.
    """
    packed = draft.state.requests.get(key)
    record = unpack(packed) if packed is not None else None
    if record is not None and record.status != FINAL:
        message = control.reason or f"cancelled by {control.actor}"
        finalise(
            draft, key, record, "cancelled", error_class="cancelled", message=message, actor=control.actor
        )
        return
    dedupe = draft.state.dedupe
    if record is not None or dedupe.find(key) is not None:
        audit_control(draft, control, "cancel_after_end", version)
        return
    print_ = fingerprint("cancel", control.tenant or "", control.request_id or "")
    if dedupe.find(print_) is None:
        draft.remember(Entry(*halves(print_), cancel=True), draft.now)
    audit_control(draft, control, "cancel_remembered", version)


def _resolve(draft: Draft, control: Control, key: bytes, configs: ConfigLookup, seams: Seams) -> None:
    """An operator's word on a quarantined request: another attempt (beyond the maximum too), or the end."""
    packed = draft.state.requests.get(key)
    record = unpack(packed) if packed is not None else None
    task = control.task
    if record is None or record.status != QUARANTINED:
        return _refuse(draft, control, configs, "the request isn't quarantined")
    if control.resolution == "fail":
        audit_control(draft, control, "resolved", record.config_version, status="fail")
        message = control.reason or f"given up by {control.actor}: the end of an attempt isn't known"
        finalise(
            draft,
            key,
            record,
            "failed",
            error_class=UNKNOWN_OUTCOME,
            message=message,
            actor=control.actor,
        )
    elif control.resolution != "retry":
        _refuse(draft, control, configs, "resolution must be retry or fail")
    elif task is None or _run(task) != _run(record):
        _refuse(draft, control, configs, "a retry needs the quarantined call task of this request")
    else:
        audit_control(draft, control, "resolved", record.config_version, status="retry")
        config = configs.get(record.config_version)
        again(draft, key, record, task, Again("best", 0, "resolved"), config, seams, control.actor)


def _run(of: CallTask | OpenRequest) -> tuple[str, str, int]:
    """What tells a request from others, and from an earlier one of the same id that is long forgotten."""
    return of.tenant, of.request_id, of.accepted_at


def _refuse(draft: Draft, control: Control, configs: ConfigLookup, why: str) -> None:
    audit_control(draft, control, "resolved", configs.active()[0], status="refused", reason=why)


def audit_control(
    draft: Draft,
    control: Control,
    action: str,
    version: str,
    status: str | None = None,
    reason: str | None = None,
) -> None:
    """Audit a command. The tenant is empty where it concerns every tenant."""
    tenant = control.tenant or ""
    draft.audit(
        AuditEvent(
            event_id=ids.event_id(tenant, control.event_id, f"audit.{action}"),
            tenant=tenant,
            action=action,
            actor=control.actor,
            at=draft.now,
            config_version=version,
            sequence=0,
            previous_hash=b"",
            request_id=control.request_id,
            model=control.model,
            status=status,
            reason=reason or control.reason,
            user=control.user,
            details=json_text(
                {
                    "command_id": control.event_id,
                    "given_at": control.at,
                    "dead_letter_id": control.dead_letter_id,
                    "resolution": control.resolution,
                }
            ),
        )
    )
