"""Which key and deployment the next call goes to, and how a benched one comes back."""

from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from processors.limits.backend import MemoryBackend
from processors.limits.limiter import Limiter
from processors.providers.bench import Bench, Benches
from processors.providers.pool import Grant, Later, NoTarget, Pool, Refused, Target
from schemas.config import Deployment, Model, RateLimits
from schemas.records import ErrorInfo

MODEL = Model.model_validate({"provider": "p", "vendor_model": "v"})
ADAPTER: Any = None


class Connection:
    """A connection that can be made, unless `problem` says why not."""

    def __init__(self, problem: NoTarget | None = None) -> None:
        self.problem, self.drops = problem, 0

    def transport(self) -> Any:
        if self.problem is not None:
            raise self.problem
        return SimpleNamespace()

    def drop(self) -> None:
        self.drops += 1


def target(
    place: str, key: str = "k", share: float = 1.0, benches: Benches | None = None, **more: Any
) -> Target:
    deployment = Deployment(provider="p", vendor_model="v", name=place)
    connection = more.pop("connection", None) or Connection()
    return Target(
        deployment,
        key,
        MODEL,
        ADAPTER,
        connection,
        benches or Benches(Bench(), Bench(), Bench()),
        share=share,
        **more,
    )


def error(kind: str, wait_ms: int | None = None) -> ErrorInfo:
    return ErrorInfo(error_class=kind, message="m", retriable=True, retry_after_ms=wait_ms)


def started(pool: Pool, now: float, tried: Sequence[str] = ()) -> Grant:
    place = pool.look(10, now, tried)
    assert isinstance(place, Target), place
    return pool.take(place, 10, now)


def failed(pool: Pool, now: float, told: ErrorInfo, tried: Sequence[str] = ()) -> Target:
    grant = started(pool, now, tried)
    pool.failed(grant, told, now, 0.5)
    pool.ended(grant, 10, 0, now)
    return grant.target


def two_keys() -> Pool:
    """One deployment, two keys."""
    place = Bench()
    return Pool([target("d", key, benches=Benches(Bench(), place, Bench())) for key in "ab"])


@pytest.mark.parametrize(
    ("told", "at", "look"),
    [
        (error("auth"), 100.0, Refused(error("auth"))),
        (error("forbidden"), 104.0, Refused(error("forbidden"))),
        (error("spend_limit"), 159.0, Refused(error("spend_limit"))),
        (error("no_such_model"), 104.0, Refused(error("no_such_model"))),
        (error("rate_limited", 8000), 107.0, Later(1.0)),
        (error("rate_limited", 3_600_000), 100.0, Later(60.0)),
        (error("overloaded", 8000), 107.0, Later(2.0)),
    ],
    ids=lambda value: getattr(value, "error_class", ""),
)
def test_what_benches_and_for_how_long(told: ErrorInfo, at: float, look: object) -> None:
    pool = Pool([target("d")])
    failed(pool, 100.0, told)
    assert pool.look(10, at) == look


@pytest.mark.parametrize(
    "kind", ["provider_error", "connection", "timeout_idle", "rate_limited", "overloaded"]
)
def test_what_asks_for_no_wait_benches_nothing(kind: str) -> None:
    pool = Pool([target("d")])
    failed(pool, 100.0, error(kind))
    assert isinstance(pool.look(10, 100.0), Target)


def test_a_benched_key_leaves_the_calls_to_the_others() -> None:
    pool = two_keys()
    bad = failed(pool, 0.0, error("auth"))
    assert {started(pool, 1.0).target.key for _ in range(5)} == {"b" if bad.key == "a" else "a"}


def test_an_overloaded_deployment_rests_under_every_key() -> None:
    pool = two_keys()
    failed(pool, 0.0, error("overloaded", 4000))
    assert pool.look(10, 0.0) == Later(4.5), "4 s and half of a quarter more, by the jitter"


def test_a_rate_limit_of_one_key_doesn_t_stop_its_other_deployment() -> None:
    key = Bench()
    pool = Pool([target(place, benches=Benches(key, Bench(), Bench())) for place in ("east", "west")])
    assert failed(pool, 0.0, error("rate_limited", 9000)).deployment.id == "east"
    assert started(pool, 0.0).target.deployment.id == "west"


def test_a_benched_key_returns_by_one_probe_at_a_time() -> None:
    pool = Pool([target("d")])
    failed(pool, 0.0, error("rate_limited", 2000))
    probe = started(pool, 2.0)
    assert probe.probes and pool.look(10, 3.0) == Later(4.0), "the others wait for what it finds"
    assert isinstance(pool.look(10, 7.0), Target), "but not for one that hangs"
    assert pool.accepted(probe), "they are told"
    assert not started(pool, 2.0).probes and not pool.accepted(started(pool, 2.0))


def test_a_failed_probe_benches_for_twice_as_long_up_to_a_minute() -> None:
    pool, now = Pool([target("d")]), 0.0
    for seconds in (5, 10, 20, 40, 60, 60):
        failed(pool, now, error("auth"))
        assert pool.look(10, now + seconds - 0.1) == Refused(error("auth"))
        now += seconds
    pool.accepted(started(pool, now))
    failed(pool, now, error("auth"))
    assert isinstance(pool.look(10, now + 5), Target), "a success begins the count anew"


def test_a_probe_without_a_verdict_is_followed_by_another() -> None:
    """It was cancelled, or its connection broke."""
    pool = Pool([target("d")])
    failed(pool, 0.0, error("auth"))
    assert pool.ended(started(pool, 5.0), 10, 0, 5.0), "others may try now"
    assert started(pool, 5.0).probes


def test_calls_under_way_when_a_key_is_benched_are_one_strike() -> None:
    pool = Pool([target("d")])
    grants = [started(pool, 0.0) for _ in range(20)]
    for grant in grants:
        pool.failed(grant, error("auth"), 0.0, 0.5)
        pool.ended(grant, 10, 0, 0.0)
    assert isinstance(pool.look(10, 5.0), Target), "five seconds, not a minute"


def test_an_answer_to_a_call_from_before_doesn_t_end_a_bench() -> None:
    pool = Pool([target("d")])
    before = started(pool, 0.0)
    failed(pool, 0.0, error("rate_limited", 5000))
    assert not pool.accepted(before) and pool.look(10, 1.0) == Later(4.0)


def test_a_refused_request_proves_the_key() -> None:
    pool = Pool([target("d")])
    failed(pool, 0.0, error("auth"))
    failed(pool, 5.0, error("invalid_request"))
    assert not started(pool, 5.0).probes


def test_a_refused_key_is_looked_up_anew() -> None:
    connection = Connection()
    failed(Pool([target("d", connection=connection)]), 0.0, error("auth"))
    assert connection.drops == 1


def test_a_secret_that_can_t_be_had_is_looked_for_again() -> None:
    connection = Connection(NoTarget("auth", "env:KEY is not set"))
    pool = Pool([target("d", connection=connection)])
    look = pool.look(10, 0.0)
    assert isinstance(look, Refused) and look.error.message == "env:KEY is not set" and look.error.retriable
    connection.problem = None
    assert isinstance(pool.look(10, 4.9), Refused) and isinstance(pool.look(10, 5.0), Target)


def test_weights_share_the_calls_and_zero_is_a_reserve() -> None:
    pool = Pool([target("a", share=3.0), target("b", share=1.0), target("reserve", share=0.0)])
    counts = Counter(started(pool, 0.0).target.deployment.id for _ in range(400))
    assert counts == {"a": 300, "b": 100}
    for place in ("a", "b"):
        pool.targets["ab".index(place)].benches.deployment.put(error("overloaded", 9000), 0.0)
    assert started(pool, 0.0).target.deployment.id == "reserve"


def test_one_that_was_away_gets_no_burst_when_it_is_back() -> None:
    pool = two_keys()
    gone = failed(pool, 0.0, error("spend_limit"))
    for _ in range(1000):
        started(pool, 1.0)
    pool.accepted(started(pool, 60.0))
    keys = [started(pool, 60.0).target.key for _ in range(20)]
    assert 8 <= keys.count(gone.key) <= 12


def test_what_failed_an_attempt_comes_last_for_it() -> None:
    pool = Pool([target("a"), target("b")])
    first = started(pool, 0.0).target
    others = {started(pool, 0.0, [first.id]).target.id for _ in range(4)}
    assert first.id not in others and pool.has_other([first.id], 10, 0.0)
    assert not pool.has_other([t.id for t in pool.targets], 10, 0.0)
    assert isinstance(pool.look(10, 0.0, [t.id for t in pool.targets]), Target), "else none would be left"


def limited(key: str, **limits: int) -> Target:
    rates = RateLimits.model_validate(limits)
    return target("d", key, limiter=Limiter(key, rates, MemoryBackend()))


def test_the_limits_of_a_key_hold_beside_the_model_s() -> None:
    pool = Pool([limited("a", concurrency=1), limited("b", concurrency=1)])
    grants = [started(pool, 0.0), started(pool, 0.0)]
    assert {grant.target.key for grant in grants} == {"a", "b"} and pool.look(10, 0.0) == Later(None)
    assert pool.ended(grants[0], 10, 10, 0.0), "other models of the key may start by it"
    assert started(pool, 0.0).target is grants[0].target


def test_tokens_that_a_call_didn_t_use_are_given_back_to_its_key() -> None:
    pool = Pool([limited("a", tpm=1200)])
    grant = pool.take(pool.targets[0], 60, 0.0)
    assert isinstance(pool.look(60, 0.0), Later)
    pool.ended(grant, 60, 0, 0.0)
    assert isinstance(pool.look(60, 0.0), Target)


class Tripped:
    """A breaker that is open for one deployment."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def wait(self, deployment: str, now: float) -> float | None:
        return 30.0 if deployment == "east" else 0.0

    def succeeded(self, deployment: str, now: float) -> None:
        self.told.append(f"{deployment} succeeded")

    def failed(self, deployment: str, error: ErrorInfo, now: float) -> None:
        self.told.append(f"{deployment} {error.error_class}")


def test_a_breaker_has_its_say() -> None:
    breaker = Tripped()
    pool = Pool([target("east"), target("west")], breaker)
    pool.succeeded(started(pool, 0.0), 0.0)
    failed(pool, 0.0, error("provider_error"))
    assert breaker.told == ["west succeeded", "west provider_error"]
    assert Pool([target("east")], breaker).look(10, 0.0) == Later(30.0)
