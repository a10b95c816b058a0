"""What a name on the command line means, and which letters are meant."""

import time

import pytest

from schemas.config import Config
from schemas.records import DeadLetter
from streams.cli.control import command, meant
from streams.cli.failure import Ambiguous, NotFound
from streams.cli.letters import Wanted

CONFIG = Config.model_validate(
    {
        "providers": {"p": {"kind": "dummy"}},
        "models": {
            "fast": {"provider": "p", "vendor_model": "v", "aliases": ["quick"]},
            "both": {"provider": "p", "vendor_model": "v"},
        },
        "tenants": {"acme": {}, "both": {}},
        "routes": [{"models": ["fast"]}],
    }
)


@pytest.mark.parametrize(
    ("name", "kind", "found"),
    [
        ("fast", None, ("model", "fast")),
        ("quick", None, ("model", "fast")),
        ("acme", None, ("tenant", "acme")),
        ("both", "tenant", ("tenant", "both")),
        ("both", "model", ("model", "both")),
    ],
)
def test_a_name_means_a_model_or_a_tenant(name: str, kind: str | None, found: tuple[str, str]) -> None:
    assert meant(CONFIG, name, kind) == found


@pytest.mark.parametrize(("name", "kind"), [("nobody", None), ("acme", "model"), ("fast", "tenant")])
def test_an_unknown_name_is_answered_with_the_known_ones(name: str, kind: str | None) -> None:
    with pytest.raises(NotFound) as raised:
        meant(CONFIG, name, kind)
    assert "acme" in (raised.value.hint or "") or "fast" in (raised.value.hint or "")


def test_a_name_of_both_must_be_told_apart() -> None:
    with pytest.raises(Ambiguous, match="a model and a tenant"):
        meant(CONFIG, "both", None)


def test_every_command_has_an_id_and_an_author() -> None:
    first, second = command("pause", model="fast"), command("pause", model="fast")
    assert first.event_id != second.event_id
    assert first.actor.startswith("operator")
    assert abs(first.at - time.time() * 1000) < 60_000


def letter(**fields: object) -> DeadLetter:
    given = {"id": "t-0-1", "kind": "k", "stage": "s", "reason": "undecodable", "message": "m", "at": 0}
    place = {"source_topic": "t", "source_partition": 0, "source_offset": 1, "source_timestamp": 0}
    return DeadLetter(**(given | place | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (Wanted(), True),
        (Wanted(tenant="acme"), True),
        (Wanted(tenant="other"), False),
        (Wanted(reason="undecodable"), True),
        (Wanted(reason="null_value"), False),
        (Wanted(kind="quarantine"), False),
        (Wanted(since_s=60), False),
    ],
)
def test_letters_are_filtered(wanted: Wanted, taken: bool) -> None:
    assert wanted.takes(letter(claimed_tenant="acme")) is taken


def test_recent_letters_are_recent() -> None:
    assert Wanted(since_s=60).takes(letter(at=int(time.time() * 1000)))
