"""Ports are free when chosen, and the state file survives what may happen to a file."""

import socket
from pathlib import Path

import pytest

from streams.local import ports
from streams.local.state import FORMAT, Entry, State

KAFKA = Entry(ports={"broker": 20001, "controller": 20002}, url="127.0.0.1:20001", pid=7)


def test_a_chosen_port_can_be_listened_on_and_a_taken_one_is_told() -> None:
    port = ports.choose()
    assert ports.is_free(port)
    with socket.create_server((ports.HOST, port)):
        assert not ports.is_free(port)
    assert ports.is_free(port)


def test_a_port_whose_connections_ended_a_moment_ago_is_free() -> None:
    with socket.create_server((ports.HOST, 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection((ports.HOST, port))
        accepted, _ = server.accept()
        accepted.close()  # the server's side closes first and waits in TIME_WAIT
        client.close()
    assert ports.is_free(port)


def test_ports_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_RANGE", range(20_000, 20_600))
    free = [p for p in range(20_000, 20_600) if ports.is_free(p)]
    kept = set(free[:3])
    assert {ports.choose(set(free) - kept) for _ in range(10)} <= kept


def test_of_two_starts_at_once_only_one_gets_a_port(tmp_path: Path) -> None:
    one, other = ports.choose(), ports.choose()
    with ports.reserved([one], tmp_path) as first, ports.reserved([one, other], tmp_path) as second:
        assert first == {one}
        assert second - {one, other} == set() and one not in second
    with ports.reserved([one], tmp_path) as later:
        assert later == {one}


def test_a_port_in_use_is_not_reserved(tmp_path: Path) -> None:
    with socket.create_server((ports.HOST, 0)) as server, ports.reserved([server.getsockname()[1]], tmp_path) as got:
        assert got == set()


def test_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    State().with_part("kafka", KAFKA).save(path)
    state = State.load(path).with_part("model", Entry(ports={"http": 20003}, url="http://x"))
    state.save(path)
    assert State.load(path) == state
    assert set(State.load(path).parts) == {"kafka", "model"}
    assert [p.name for p in tmp_path.iterdir()] == ["stack.json"]


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"parts": 3}', b'{"parts": {"unknown": {}}}'])
def test_a_missing_or_broken_file_is_an_empty_state(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "stack.json"
    if content is not None:
        path.write_bytes(content)
    assert State.load(path) == State()


def test_a_file_of_a_newer_version_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    path.write_text(f'{{"format": {FORMAT + 1}, "parts": {{}}}}')
    with pytest.raises(ValueError, match="upgrade sluice-llm"):
        State.load(path)
