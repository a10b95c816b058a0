"""The targets that a configuration makes, and what of them outlives it."""

import gc
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from processors.limits.backend import MemoryBackend
from processors.pricing.book import book_of
from processors.providers.authorisers import Resolver
from processors.providers.pool import Grant, Later, Pool, Refused, Target
from schemas.config import Config
from schemas.records import ErrorInfo
from streams.services.call.targets import Targets
from streams.settings import resolve_document, resolve_secret

AUTH = ErrorInfo(error_class="auth", message="refused", retriable=True)
FORBIDDEN = ErrorInfo(error_class="forbidden", message="not this model", retriable=True)


def config(**models: dict[str, Any]) -> Config:
    return Config.model_validate(
        {
            "providers": {
                "one": {"kind": "openai", "base_url": "http://one", "api_keys": ["env:A", "env:B"]},
                "two": {"kind": "anthropic", "base_url": "http://two", "api_key": "env:C"},
                "local": {"kind": "openai", "base_url": "http://local"},
                "narrow": {
                    "kind": "openai", "base_url": "http://narrow", "key_limits": {"concurrency": 1},
                    "api_keys": ["env:A", {"secret": "env:B", "name": "big", "limits": {"concurrency": 2}}],
                },
            },
            "models": models,
            "tenants": {"t": {}},
            "routes": [{"models": list(models)}],
        }
    )  # fmt: skip


BOTH = {
    "deployments": [
        {"provider": "one", "vendor_model": "m-1", "weight": 3},
        {"provider": "two", "vendor_model": "m-2", "name": "second", "weight": 1},
    ]
}


def targets(**secrets: str) -> Targets:
    sessions: Any = SimpleNamespace(of=lambda headers: SimpleNamespace())
    known = {"env:A": "aaaa", "env:B": "bbbb", "env:C": "cccc", **secrets}

    def value(reference: str) -> str:
        if reference not in known:
            raise ValueError(f"secret {reference}: not set")
        return known[reference]

    return Targets(sessions, MemoryBackend(), Resolver(value, value))


def start(pool: Pool, now: float = 0.0) -> Grant:
    place = pool.look(1, now)
    assert isinstance(place, Target), place
    return pool.take(place, 1, now)


def test_each_key_of_each_deployment_is_a_target() -> None:
    pool = targets().pool(config(m=BOTH), "m")
    told = [(t.deployment.id, t.key, t.model.provider, t.model.vendor_model, t.share) for t in pool.targets]
    assert told == [
        ("one/m-1", "key-1", "one", "m-1", 1.5),
        ("one/m-1", "key-2", "one", "m-1", 1.5),
        ("second", "key-1", "two", "m-2", 1.0),
    ]
    assert type(pool.targets[2].adapter).__name__ == "AnthropicAdapter"


def test_a_model_of_the_short_form_without_a_key_is_one_target() -> None:
    pool = targets().pool(config(m={"provider": "local", "vendor_model": "v"}), "m")
    [only] = pool.targets
    assert (only.deployment.id, only.key) == ("local/v", None) and start(pool).target is only


def test_a_key_that_is_refused_rests_for_every_model_and_configuration() -> None:
    shared = targets()
    first = config(m=BOTH, n={"provider": "one", "vendor_model": "other"})
    pool = shared.pool(first, "m")
    grant = start(pool)
    assert grant.target.key == "key-1"
    pool.failed(grant, AUTH, 0.0, 0.5)
    for told, model in ((first, "n"), (config(m=BOTH, n={"provider": "one", "vendor_model": "other"}), "n")):
        other = shared.pool(told, model)
        assert {start(other, 1.0).target.key for _ in range(4)} == {"key-2"}


def test_a_key_that_may_not_call_one_model_rests_for_that_one_alone() -> None:
    shared = targets()
    told = config(m=BOTH, n={"provider": "one", "vendor_model": "other"})
    pool, other = shared.pool(told, "m"), shared.pool(told, "n")
    pool.failed(start(pool), FORBIDDEN, 0.0, 0.5)
    assert {start(pool, 1.0).target.id for _ in range(8)} == {"one/m-1#key-2", "second#key-1"}
    assert {start(other, 1.0).target.key for _ in range(4)} == {"key-1", "key-2"}


def test_a_configuration_that_is_gone_leaves_nothing_but_benches_and_limits() -> None:
    shared = targets()
    model = {"provider": "two", "vendor_model": "v"}
    kept, old = config(m=model), config(m={"provider": "one", "vendor_model": "v"})
    pool = shared.pool(kept, "m")
    pool.failed(start(pool), AUTH, 0.0, 0.5)
    gone: list[weakref.ref[Any]] = [
        weakref.ref(old),
        weakref.ref(shared.pool(old, "m").targets[0].connection),
    ]
    assert len(shared._pools) == 2 and None not in [one() for one in gone]
    book_of(old)
    del old
    gc.collect()
    assert len(shared._pools) == 1 and [one() for one in gone] == [None, None]
    assert shared.pool(kept, "m") is pool
    del kept, pool
    gc.collect()
    assert not len(shared._pools) and not shared._connections and not shared._adapters
    assert isinstance(shared.pool(config(m=model), "m").look(1, 1.0), Refused), (
        "a bench outlives its configuration"
    )


def test_another_secret_under_a_new_configuration_is_another_key() -> None:
    shared = targets(**{"env:NEW": "nnnn"})
    model = {"provider": "two", "vendor_model": "v"}
    old = shared.pool(config(m=model), "m")
    old.failed(start(old), AUTH, 0.0, 0.5)
    assert isinstance(old.look(1, 1.0), Refused)
    values = config(m=model).model_dump(mode="json")
    values["providers"]["two"]["api_key"] = "env:NEW"
    assert isinstance(shared.pool(Config.model_validate(values), "m").look(1, 1.0), Target)


def test_the_concurrency_of_a_key_holds_over_models() -> None:
    shared = targets()
    told = config(
        m={"provider": "narrow", "vendor_model": "v"}, n={"provider": "narrow", "vendor_model": "w"}
    )
    m, n = shared.pool(told, "m"), shared.pool(told, "n")
    keys = [start(m).target.key, start(n).target.key, start(m).target.key]
    assert sorted(str(key) for key in keys) == ["big", "big", "key-1"]
    assert m.look(1, 0.0) == n.look(1, 0.0) == Later(None)


def test_a_changed_limit_of_a_key_holds_at_once() -> None:
    shared = targets()
    model = {"provider": "narrow", "vendor_model": "v"}
    values = config(m=model).model_dump(mode="json")
    old = shared.pool(config(m=model), "m")
    for _ in range(3):
        start(old)
    values["providers"]["narrow"]["key_limits"] = {"concurrency": 5}
    shared.pool(Config.model_validate(values), "m")
    assert isinstance(old.look(1, 0.0), Target)


def test_a_task_of_an_old_configuration_brings_no_old_limit_back() -> None:
    shared = targets()
    model = {"provider": "narrow", "vendor_model": "v"}
    old = config(m=model)
    values = old.model_dump(mode="json")
    values["providers"]["narrow"]["key_limits"] = {"concurrency": 5}
    new = Config.model_validate(values)
    shared.obey(old)
    pool = shared.pool(old, "m")
    started = [start(pool) for _ in range(3)]
    assert pool.look(1, 0.0) == Later(None)
    woken: list[None] = []
    shared.changed.append(lambda: woken.append(None))
    shared.obey(new)
    assert woken and isinstance(pool.look(1, 0.0), Target)
    started += [start(pool) for _ in range(4)]
    late = old.model_copy(update={"models": {"n": old.models["m"]}})
    assert isinstance(shared.pool(new, "m").look(1, 0.0), Later)
    pool.ended(next(grant for grant in started if grant.target.key == "key-1"), 1, 1, 0.0)
    assert isinstance(shared.pool(late, "n").look(1, 0.0), Target), (
        "five at once, also for the old one's task"
    )


def test_a_renewed_secret_is_taken_up_by_the_probe(tmp_path: Any) -> None:
    file = tmp_path / "key"
    file.write_text("old-secret")
    sessions: Any = SimpleNamespace(of=lambda headers: SimpleNamespace())
    shared = Targets(sessions, MemoryBackend(), Resolver(resolve_secret, resolve_document))
    values = config(m={"provider": "two", "vendor_model": "v"}).model_dump(mode="json")
    values["providers"]["two"]["api_key"] = f"file:{file}"
    pool = shared.pool(Config.model_validate(values), "m")
    grant = start(pool)
    transport: Any = grant.transport
    assert transport._headers == {"x-api-key": "old-secret"}
    file.write_text("new-secret")
    pool.failed(grant, AUTH, 0.0, 0.5)
    probe: Any = start(pool, 5.0).transport
    assert probe._headers == {"x-api-key": "new-secret"}


@pytest.mark.parametrize(
    ("provider", "error_class", "told"),
    [
        ({"kind": "anthropic", "api_key": "env:NONE"}, "auth", "providers.x: secret env:NONE: not set"),
        (
            {"kind": "openai", "base_url": "http://[", "api_key": "env:A"},
            "connection",
            "providers.x: base_url 'http://[' is not a URL",
        ),
    ],
)
def test_what_can_t_be_called_is_told_with_its_place(
    provider: dict[str, Any], error_class: str, told: str
) -> None:
    values = config(m={"provider": "local", "vendor_model": "v"}).model_dump(mode="json")
    values["providers"]["x"] = provider
    values["models"]["m"]["provider"] = "x"
    look = targets().pool(Config.model_validate(values), "m").look(1, 0.0)
    assert isinstance(look, Refused), "a wait doesn't mend it"
    assert look.error.error_class == error_class and look.error.message.startswith(told)
