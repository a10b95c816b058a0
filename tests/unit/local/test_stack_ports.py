"""At which ports a stack starts its parts: those that documents name where they are free, never those of others."""

import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from streams.local import ports
from streams.local.part import Part, base_url
from streams.local.stack import Stack
from streams.local.state import PartName


@dataclass(kw_only=True)
class Sleeper(Part):
    """A part that serves nobody, at the port that it was given."""

    name: ClassVar[PartName] = "registry"
    title: ClassVar[str] = "sleeper"

    def command(self) -> Sequence[str]:
        return ["sleep", "60"]

    def url(self) -> str:
        return base_url(self.ports["http"])

    def ready(self) -> bool:
        return True


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> int:
    """The well-known port, which in this test is one that nobody uses."""
    port = ports.choose()
    monkeypatch.setattr(ports, "WELL_KNOWN", {"registry.http": port})
    return port


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Starts the part of a home, and gives its port."""
    monkeypatch.setattr(Stack, "_part", lambda self, name, chosen: Sleeper(home=self.home, ports=chosen))
    made: list[Stack] = []

    def start(home: str, *, well_known: bool) -> int:
        stack = Stack(tmp_path / home, tmp_path / "cache", well_known=well_known)
        made.append(stack)
        return int(stack.up(["registry"]).registry_url.rpartition(":")[2])

    yield start
    for stack in made:
        stack.down(["registry"])


def stop(tmp_path: Path, home: str) -> None:
    Stack(tmp_path / home, tmp_path / "cache").down(["registry"])


def test_up_takes_the_well_known_port_and_keeps_it(
    tmp_path: Path, start: Callable[..., int], known: int
) -> None:
    assert start("a", well_known=True) == known
    stop(tmp_path, "a")
    assert start("a", well_known=False) == known, "it had it before"


def test_what_was_elsewhere_comes_back_to_the_well_known_port(
    tmp_path: Path, start: Callable[..., int], known: int
) -> None:
    first = start("a", well_known=False)
    assert first != known
    assert start("a", well_known=True) == first, "what runs is left alone"
    stop(tmp_path, "a")
    assert start("a", well_known=True) == known


def test_a_port_in_use_is_never_assumed(start: Callable[..., int], known: int) -> None:
    with socket.create_server((ports.HOST, known)):
        assert start("a", well_known=True) != known


@pytest.mark.parametrize("well_known", [True, False])
def test_a_port_that_another_start_is_about_to_take_is_left_to_it(
    tmp_path: Path, start: Callable[..., int], known: int, well_known: bool
) -> None:
    """Else both would find it free, and the one that came later would take the other's part for its own."""
    assert start("a", well_known=True) == known
    stop(tmp_path, "a")
    with ports.reserved([known], tmp_path / "cache") as ours:
        assert ours == {known}
        assert start("a", well_known=well_known) != known
