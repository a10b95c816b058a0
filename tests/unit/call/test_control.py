"""What commands add up to."""

from typing import Any

from schemas.records import Control
from streams.services.call.control import ControlState


def command(name: str, **fields: Any) -> Control:
    return Control(event_id="e", command=name, at=0, actor="op", **fields)


def test_pause_and_resume() -> None:
    state, changes = ControlState(), []
    state.changed.append(lambda: changes.append(1))
    state.apply(b"pause:model:m", command("pause", model="m"))
    state.apply(b"pause:tenant:a:b", command("pause", tenant="a:b"))
    assert state.model_paused("m") and not state.model_paused("n") and state.paused_tenants == {"a:b"}
    state.apply(b"pause:model:m", command("resume", model="m"))
    state.apply(b"pause:tenant:a:b", None)
    assert not state.model_paused("m") and (state.paused_tenants, len(changes)) == (set(), 4)


def test_cancel_is_told_and_remembered() -> None:
    state, told = ControlState(), []
    state.cancel.append(lambda tenant, request: told.append((tenant, request)))
    state.apply(b"cancel:7", command("cancel", tenant="t", request_id="r"))
    assert told == [("t", "r")] and state.cancelled("t", "r")
    assert not state.cancelled("other", "r"), "a request id belongs to its tenant"


def test_other_records_change_nothing() -> None:
    state = ControlState()
    for key in (b"op:1", b"", None, b"\xff", b"cancel:1"):
        state.apply(key, command("redrive", dead_letter_id="d"))
        state.apply(key, None)
    state.apply(b"cancel:1", command("cancel", tenant="t"))
    assert not any(map(state.model_paused, ("", "d", "t", "1"))) and state.paused_tenants == set()


def test_cancels_are_bounded() -> None:
    state = ControlState()
    for number in range(70_000):
        state.apply(b"cancel:1", command("cancel", tenant="t", request_id=str(number)))
    assert not state.cancelled("t", "0") and state.cancelled("t", "69999")


def test_an_alias_stands_for_its_model() -> None:
    """Whichever name pauses, each of them resumes."""
    state = ControlState(lambda name: {"quick": "fast"}.get(name, name))
    for paused, resumed in (("quick", "fast"), ("fast", "quick")):
        state.apply(f"pause:model:{paused}".encode(), command("pause", model=paused))
        assert state.model_paused("fast") and not state.model_paused("quick")
        state.apply(f"pause:model:{resumed}".encode(), command("resume", model=resumed))
        assert not state.model_paused("fast")


def test_an_alias_that_moves_between_pause_and_resume_leaves_nothing_paused() -> None:
    stands_for = {"fast": "a"}
    state = ControlState(lambda name: stands_for.get(name, name))
    state.apply(b"pause:model:fast", command("pause", model="fast"))
    assert state.model_paused("a") and not state.model_paused("b")
    stands_for["fast"] = "b"
    assert state.model_paused("b") and not state.model_paused("a"), "the pause goes with the name"
    state.apply(b"pause:model:fast", command("resume", model="fast"))
    assert not state.model_paused("a") and not state.model_paused("b")
