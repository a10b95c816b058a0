"""Validating commands from `llm.control`."""

from msgspec.structs import replace

from processors.classify.problems import NAME_CHARS, has_control, shown
from schemas import ids
from schemas.config import Config
from schemas.records import Control
from schemas.signals import Invalid

_TEXTS = ("event_id", "command", "actor", "tenant", "request_id", "model", "dead_letter_id", "resolution", "user")
_MAX_REASON = 4096


def parse_control(event: Control, config: Config) -> Control:
    """The command, checked; a model's alias is replaced by its id.

    Raises Invalid("invalid_control") where a field is missing or unfit, Invalid("unknown_tenant") or
    Invalid("unknown_model") where what is meant isn't configured. A resume may name what is gone already.
    A cancel is let through whatever it can be: the call stage reads the topic itself and obeys it, so that route
    must know of it, and audit it.
    """
    for name in _TEXTS:
        value = getattr(event, name)
        if value is not None and (len(value) > NAME_CHARS or has_control(value)):
            raise _invalid(f"{name} is longer than {NAME_CHARS} characters or holds a control character")
    if event.reason is not None and len(event.reason) > _MAX_REASON:
        raise _invalid(f"reason is longer than {_MAX_REASON} characters: shorten it")
    if event.command == "cancel":
        event = _attributed(event)
    _require(event, "event_id", "actor")
    match event.command:
        case "cancel":
            _require(event, "tenant", "request_id")
            return event
        case "pause" | "resume":
            return _pause(event, config)
        case "resolve":
            _require(event, "tenant", "request_id", "resolution")
            _check_resolution(event)
        case "redrive" | "discard":
            _require(event, "dead_letter_id")
        case "erase" | "hold" | "release":
            _require(event, "tenant", "reason")  # one that isn't configured any more still has texts
            return event
        case _:
            known = "cancel, pause, resume, resolve, redrive, discard, erase, hold, release"
            raise _invalid(f"command is {shown(event.command)}: use one of {known}")
    if event.tenant is not None and event.command != "resolve":
        _check_tenant(event.tenant, config)
    return event


def _attributed(event: Control) -> Control:
    """A cancel with an id and an actor. Where it has none, its id follows from what it says."""
    made = ids.event_id(event.tenant or "", event.request_id or "", f"cancel.{event.at}")
    return replace(event, event_id=event.event_id or made, actor=event.actor or "unknown")


def _pause(event: Control, config: Config) -> Control:
    if bool(event.tenant) == bool(event.model):
        raise _invalid(f"a {event.command} names either a tenant or a model: set one of them")
    if event.command == "pause" and event.tenant:
        _check_tenant(event.tenant, config)
    if not event.model:
        return event
    model = config.resolve(event.model)
    if model is None and event.command == "pause":
        known = ", ".join(sorted(config.models))
        message = f"model {shown(event.model)} is not configured: use one of {known}"
        raise Invalid("unknown_model", message)
    if model is None or model == event.model:
        return event
    return replace(event, model=model)


def _check_resolution(event: Control) -> None:
    if event.resolution not in ("retry", "fail"):
        raise _invalid(f"resolution is {shown(event.resolution or '')}: use retry or fail")
    if event.resolution == "retry" and event.task is None:
        raise _invalid("a resolution by retry carries the quarantined call task: set `task`")
    task = event.task
    if task is not None and (task.tenant, task.request_id) != (event.tenant, event.request_id):
        raise _invalid("`task` belongs to another request than tenant and request_id say")


def _check_tenant(tenant: str, config: Config) -> None:
    if tenant not in config.tenants:
        raise Invalid("unknown_tenant", f"tenant {shown(tenant)} is not configured: mend the name")


def _require(event: Control, *names: str) -> None:
    missing = [name for name in names if not getattr(event, name)]
    if missing:
        raise _invalid(f"the command {shown(event.command)} needs {' and '.join(missing)}: set it")


def _invalid(message: str) -> Invalid:
    return Invalid("invalid_control", message)
